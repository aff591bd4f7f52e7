//! Shows the arguments of its life cycle functions, and fails in them on command.

use std::cell::{Cell, RefCell};

use guest_kit::types::{LogLevel, MessagePayload};
use guest_kit::{
    Args, Component, ComponentConfig, ComponentError, ComponentMessage, ComponentMetadata,
    HealthStatus, Reply, WasmError, format_id, host_messaging, host_services, text,
};
use serde_json::{Map, json};

thread_local! {
    static CONFIG: RefCell<Option<ComponentConfig>> = const { RefCell::new(None) };
    static HEALTH: Cell<HealthStatus> = const { Cell::new(HealthStatus::Healthy) };
    static CALLS: Cell<[u64; EXPORTS.len()]> = const { Cell::new([0; EXPORTS.len()]) };
}

const EXPORTS: [&str; 6] =
    ["initialize", "handle-message", "handle-callback", "metadata", "health", "shutdown"];

struct Probe;
guest_kit::export!(Probe);

impl Component for Probe {
    fn initialize(config: ComponentConfig) -> Result<(), ComponentError> {
        count("initialize");
        CONFIG.set(Some(config));
        if let Some(reason) = env("REFUSE") {
            return Err(ComponentError::InitializationFailed(reason));
        }
        if env("TRAP_INIT").is_some() {
            trap();
        }
        if env("LOOP_INIT").is_some() {
            #[expect(clippy::empty_loop, reason = "only a limit may end it")]
            loop {}
        }
        if let Some(name) = env("HEALTH") {
            let status =
                parse_health(&name).map_err(|_| ComponentError::InitializationFailed(name))?;
            HEALTH.set(status);
        }
        Ok(())
    }

    fn handle_message(message: ComponentMessage) -> Reply {
        count("handle-message");
        if message.payload.starts_with(b"len") {
            return text(message.payload.len().to_string());
        }
        let mut args = Args::new(&message.payload);
        match args.word()? {
            "config" => text(config()),
            "message" => text(describe(&message)),
            "self" => text(format_id(&host_messaging::self_id())),
            "silent" => Ok(None),
            "empty" => Ok(Some(Vec::new())),
            "blob" => Ok(Some(blob(args.number()?))),
            "fail" => Err(failure(args.word()?, args.rest_text()?)?),
            "health" => {
                HEALTH.set(parse_health(args.word()?)?);
                text("ok")
            }
            "calls" => text(calls()),
            other => Args::unknown(other),
        }
    }

    fn handle_callback(_message: ComponentMessage) -> Result<(), WasmError> {
        count("handle-callback");
        Ok(())
    }

    fn metadata() -> ComponentMetadata {
        count("metadata");
        let commands =
            ["config", "message", "silent", "empty", "blob", "len", "fail", "health", "calls"];
        guest_kit::metadata!(true, commands)
    }

    fn health() -> HealthStatus {
        count("health");
        let asked = CALLS.get()[EXPORTS.iter().position(|name| *name == "health").unwrap_or(0)];
        if env("HANGS_AFTER").is_some_and(|most| most.parse() == Ok(asked)) {
            #[expect(clippy::empty_loop, reason = "only a limit may end it")]
            loop {}
        }
        HEALTH.get()
    }

    fn shutdown() -> Result<(), ComponentError> {
        count("shutdown");
        if let Some(reason) = env("SHUTDOWN_FAIL") {
            return Err(ComponentError::ShutdownFailed(reason));
        }
        if env("LOOP_SHUTDOWN").is_some() {
            #[expect(clippy::empty_loop, reason = "only the host may end it")]
            loop {}
        }
        if env("TRAP_SHUTDOWN").is_some() {
            trap();
        }
        host_services::log(LogLevel::Info, "probe shut down", None);
        Ok(())
    }
}

fn env(name: &str) -> Option<String> {
    CONFIG.with_borrow(|config| {
        let variables = &config.as_ref()?.env_vars;
        variables.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone())
    })
}

fn trap() -> ! {
    std::process::abort()
}

fn count(export: &str) {
    let mut calls = CALLS.get();
    for (name, calls) in EXPORTS.iter().zip(&mut calls) {
        *calls += u64::from(*name == export);
    }
    CALLS.set(calls);
}

fn calls() -> String {
    let calls: Map<_, _> =
        EXPORTS.iter().zip(CALLS.get()).map(|(name, n)| (name.to_string(), json!(n))).collect();
    json!(calls).to_string()
}

fn config() -> String {
    CONFIG.with_borrow(|config| {
        let Some(config) = config else {
            return json!(null).to_string();
        };
        let env: Map<_, _> =
            config.env_vars.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        json!({
            "env": env,
            "config": config.config_data.as_deref().map(String::from_utf8_lossy),
            "limits": {
                "max-memory-bytes": config.resource_limits.max_memory_bytes,
                "max-execution-time-ms": config.resource_limits.max_execution_time_ms,
                "max-fuel": config.resource_limits.max_fuel,
            },
        })
        .to_string()
    })
}

fn describe(message: &ComponentMessage) -> String {
    let metadata = &message.metadata;
    json!({
        "sender": format_id(&message.sender),
        "correlation-id": metadata.correlation_id,
        "reply-to": metadata.reply_to.as_ref().map(format_id),
        "seconds": metadata.timestamp.seconds,
        "nanoseconds": metadata.timestamp.nanoseconds,
        "content-type": metadata.content_type,
        "payload-len": message.payload.len(),
        "payload": String::from_utf8_lossy(&message.payload),
    })
    .to_string()
}

fn blob(len: usize) -> MessagePayload {
    (0..=250).cycle().take(len).collect()
}

fn failure(kind: &str, text: &str) -> Result<WasmError, WasmError> {
    let text = text.to_string();
    Ok(match kind {
        "component-not-found" => WasmError::ComponentNotFound(text),
        "instantiation-failed" => WasmError::InstantiationFailed(text),
        "export-not-found" => WasmError::ExportNotFound(text),
        "timeout" => WasmError::Timeout,
        "resource-limit-exceeded" => WasmError::ResourceLimitExceeded(text),
        "invalid-component" => WasmError::InvalidComponent(text),
        "runtime-error" => WasmError::RuntimeError(text),
        _ => {
            return Err(WasmError::RuntimeError(format!("unknown error kind: {kind}")));
        }
    })
}

fn parse_health(name: &str) -> Result<HealthStatus, WasmError> {
    Ok(match name {
        "healthy" => HealthStatus::Healthy,
        "degraded" => HealthStatus::Degraded,
        "unhealthy" => HealthStatus::Unhealthy,
        "unknown" => HealthStatus::Unknown,
        _ => {
            return Err(WasmError::RuntimeError(format!("unknown health status: {name}")));
        }
    })
}
