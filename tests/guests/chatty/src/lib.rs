//! Logging and time as commands.

use guest_kit::types::LogLevel;
use guest_kit::{
    Args, Component, ComponentMessage, ComponentMetadata, Reply, WasmError, host_services, text,
};

struct Chatty;
guest_kit::export!(Chatty);

impl Component for Chatty {
    fn metadata() -> ComponentMetadata {
        guest_kit::metadata!(false, ["log", "log-ctx", "flood", "time", "millis", "sleep"])
    }

    fn handle_message(message: ComponentMessage) -> Reply {
        let mut args = Args::new(&message.payload);
        match args.word()? {
            "log" => {
                let level = level(args.word()?)?;
                host_services::log(level, args.rest_text()?, None);
            }
            "log-ctx" => {
                let (level, message) = (level(args.word()?)?, args.word()?);
                let pairs = args
                    .rest_text()?
                    .split_whitespace()
                    .map(|pair| pair.split_once('=').unwrap_or((pair, "")));
                let context: Vec<_> =
                    pairs.map(|(name, value)| (name.to_string(), value.to_string())).collect();
                host_services::log(level, message, Some(&context));
            }
            "flood" => {
                for n in 0..args.number::<u64>()? {
                    host_services::log(LogLevel::Info, &format!("flood {n}"), None);
                }
            }
            "time" => {
                let now = host_services::current_time();
                return text(format!("{} {}", now.seconds, now.nanoseconds));
            }
            "millis" => return text(host_services::current_time_millis().to_string()),
            "sleep" => host_services::sleep_millis(args.number()?),
            other => return Args::unknown(other),
        }
        text("ok")
    }
}

fn level(name: &str) -> Result<LogLevel, WasmError> {
    Ok(match name {
        "trace" => LogLevel::Trace,
        "debug" => LogLevel::Debug,
        "info" => LogLevel::Info,
        "warn" => LogLevel::Warn,
        "error" => LogLevel::Error,
        _ => {
            return Err(WasmError::RuntimeError(format!("unknown log level: {name}")));
        }
    })
}
