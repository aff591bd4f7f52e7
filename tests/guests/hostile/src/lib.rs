//! A hostile component: floods, oversized and malformed values, and attacks on others.

mod flood;
mod malformed;
mod realloc;

use std::cell::{Cell, RefCell};

use guest_kit::{
    Args, Component, ComponentConfig, ComponentError, ComponentId, ComponentMessage,
    ComponentMetadata, MessagingError, Reply, WasmError, host_messaging, host_services, outcome,
    storage, text, types::LogLevel,
};

thread_local! {
    /// The requests of `request-many`.
    static CORRELATIONS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    static CALLBACKS: Cell<u64> = const { Cell::new(0) };
    /// The callbacks that reported a failure.
    static FAILED_CALLBACKS: Cell<u64> = const { Cell::new(0) };
    static DESCRIPTION_BYTES: Cell<usize> = const { Cell::new(0) };
    /// The command for the next callback, and for `shutdown`.
    static ON_CALLBACK: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
    static AT_SHUTDOWN: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
    /// The replies to commands that nobody waits for.
    static KEPT: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

struct Hostile;
guest_kit::export!(Hostile);

impl Component for Hostile {
    fn metadata() -> ComponentMetadata {
        let commands = [
            "send-many",
            "request-many",
            "correlations",
            "cancel-kept",
            "cancel-range",
            "callbacks",
            "failed-callbacks",
            "blob",
            "broadcast-many",
            "wide-ids",
            "big-send",
            "list-flood",
            "log-many",
            "long-log-context",
            "set-many",
            "big-set",
            "long-key",
            "big-error",
            "raw-metadata",
            "raw-request",
            "raw-broadcast",
            "raw-cancel",
            "raw-get",
            "raw-set",
            "raw-delete",
            "raw-exists",
            "raw-keys",
            "raw-string",
            "raw-bytes",
            "raw-list",
            "raw-enum",
            "raw-option",
            "raw-return",
            "raw-reply",
            "realloc",
            "realloc-next",
            "log-then",
            "on-callback",
            "kept",
        ];
        let mut metadata = guest_kit::metadata!(true, commands);
        if DESCRIPTION_BYTES.get() > 0 {
            metadata.description = "x".repeat(DESCRIPTION_BYTES.get());
        }
        metadata
    }

    fn initialize(config: ComponentConfig) -> Result<(), ComponentError> {
        let variable = config.env_vars.iter().find(|(name, _)| name == "DESCRIPTION_BYTES");
        if let Some(size) = variable.and_then(|(_, value)| value.parse().ok()) {
            DESCRIPTION_BYTES.set(size);
        }
        for (name, command) in config.env_vars {
            match name.as_str() {
                "AT_INITIALIZE" => keep(command.as_bytes()),
                "AT_SHUTDOWN" => AT_SHUTDOWN.set(Some(command.into())),
                _ => {}
            }
        }
        Ok(())
    }

    fn shutdown() -> Result<(), ComponentError> {
        AT_SHUTDOWN.take().iter().for_each(|command| keep(command));
        Ok(())
    }

    fn handle_message(message: ComponentMessage) -> Reply {
        obey(&message.payload)
    }

    fn handle_callback(message: ComponentMessage) -> Result<(), WasmError> {
        CALLBACKS.set(CALLBACKS.get() + 1);
        if message.metadata.content_type.is_some() {
            FAILED_CALLBACKS.set(FAILED_CALLBACKS.get() + 1);
        }
        ON_CALLBACK.take().iter().for_each(|command| keep(command));
        Ok(())
    }
}

/// Executes a command that nobody waits for.
fn keep(command: &[u8]) {
    let reply = match obey(command) {
        Ok(reply) => String::from_utf8_lossy(&reply.unwrap_or_default()).into(),
        Err(error) => format!("{error:?}"),
    };
    KEPT.with_borrow_mut(|kept| kept.push(reply));
}

fn obey(command: &[u8]) -> Reply {
    let ok = |()| "ok".to_string();
    let mut args = Args::new(command);
    match args.word()? {
        "log-then" => {
            host_services::log(LogLevel::Info, "gate", None);
            obey(args.rest())
        }
        "on-callback" => {
            ON_CALLBACK.set(Some(args.rest().into()));
            text("ok")
        }
        "kept" => text(KEPT.with_borrow(|kept| kept.join("\n"))),
        "send-many" => {
            let (count, target) = (args.number::<u64>()?, args.id()?);
            let payload = args.rest();
            flood::tally(0..count, |_| host_messaging::send(&target, payload))
        }
        "request-many" => {
            let count = args.number::<u64>()?;
            let (target, timeout_ms, payload) = (args.id()?, args.number()?, args.rest());
            flood::tally(0..count, |_| {
                let id = host_messaging::request(&target, payload, timeout_ms)?;
                CORRELATIONS.with_borrow_mut(|kept| kept.push(id));
                Ok::<_, MessagingError>(())
            })
        }
        "correlations" => text(CORRELATIONS.with_borrow(|kept| kept.join("\n"))),
        "cancel-kept" => flood::tally(CORRELATIONS.take(), |id| cancel(&id)),
        "cancel-range" => {
            let range = number_of(args.word()?)?..number_of(args.word()?)?;
            flood::tally(range, |number| cancel(&format!("{number:016x}")))
        }
        "callbacks" => text(CALLBACKS.get().to_string()),
        "failed-callbacks" => text(FAILED_CALLBACKS.get().to_string()),
        "blob" => Ok(Some(vec![b'x'; args.number()?])),
        "broadcast-many" => {
            let (count, target) = (args.number()?, args.id()?);
            outcome(host_messaging::broadcast(&vec![target; count], args.rest()), ok)
        }
        "wide-ids" => {
            let (count, size) = (args.number()?, args.number()?);
            outcome(host_messaging::broadcast(&vec![flood::wide_id(size); count], b"x"), ok)
        }
        "big-send" => {
            let (target, size) = (args.id()?, args.number()?);
            outcome(host_messaging::send(&target, &vec![b'x'; size]), ok)
        }
        "list-flood" => {
            let mut last = Vec::new();
            for _ in 0..args.number::<u64>()? {
                last = host_services::list_components();
            }
            text(last.len().to_string())
        }
        "log-many" => {
            flood::log_many(args.number()?, args.number()?);
            text("ok")
        }
        "long-log-context" => {
            flood::long_log_context(args.number()?, args.number()?);
            text("ok")
        }
        "set-many" => {
            let (count, size) = (args.number::<u64>()?, args.number()?);
            let value = vec![b'x'; size];
            flood::tally(0..count, |number| storage::set(&format!("k{number}"), &value))
        }
        "big-set" => outcome(storage::set("big", &vec![b'x'; args.number()?]), ok),
        "long-key" => outcome(storage::set(&"k".repeat(args.number()?), b"x"), ok),
        "big-error" => Err(WasmError::RuntimeError("x".repeat(args.number()?))),
        "raw-metadata" => {
            outcome(host_services::get_component_metadata(&raw_id(&mut args)?), |info| {
                format!("{} {} {}", info.name, info.version, info.health)
            })
        }
        "raw-request" => {
            let (target, timeout_ms) = (raw_id(&mut args)?, args.number()?);
            outcome(host_messaging::request(&target, args.rest(), timeout_ms), |id| id)
        }
        "raw-broadcast" => {
            let target = raw_id(&mut args)?;
            outcome(host_messaging::broadcast(&[target], args.rest()), ok)
        }
        "raw-cancel" => outcome(cancel(&args.hex()?), ok),
        "raw-get" => outcome(storage::get(&args.hex()?), |value| {
            value.map_or("nothing".into(), |value| String::from_utf8_lossy(&value).into())
        }),
        "raw-set" => outcome(storage::set(&args.hex()?, args.rest()), ok),
        "raw-delete" => outcome(storage::delete(&args.hex()?), ok),
        "raw-exists" => outcome(storage::exists(&args.hex()?), |found| found.to_string()),
        "raw-keys" => outcome(storage::list_keys(Some(&args.hex()?)), |keys| keys.join("\n")),
        "realloc" => {
            realloc::arm(args.word()?)?;
            text(host_services::list_components().len().to_string())
        }
        "realloc-next" => {
            realloc::arm(args.word()?)?;
            text("ok")
        }
        command => malformed::handle(command, args),
    }
}

/// The parts of an id that has no text form.
fn raw_id(args: &mut Args<'_>) -> Result<ComponentId, WasmError> {
    Ok(ComponentId { namespace: args.hex()?, name: args.hex()?, instance: args.hex()? })
}

/// The number of a correlation id, which is 16 hexadecimal digits.
fn number_of(id: &str) -> Result<u64, WasmError> {
    u64::from_str_radix(id, 16)
        .map_err(|_| WasmError::RuntimeError(format!("not a correlation id: {id}")))
}

fn cancel(id: &str) -> Result<(), MessagingError> {
    host_messaging::cancel_request(id)
}
