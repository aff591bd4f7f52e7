//! Forwards messages. The benchmarks measure it, so it must do nothing else.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use guest_kit::{
    Args, Component, ComponentConfig, ComponentError, ComponentId, ComponentMessage,
    ComponentMetadata, Render, Reply, WasmError, host_messaging, parse_id, text,
};

// The start of a command, read as the number at the start of other messages.
const COUNT: u32 = u32::from_le_bytes(*b"coun");
const BURST: u32 = u32::from_le_bytes(*b"burs");

static TARGET: OnceLock<ComponentId> = OnceLock::new();
static LAST: OnceLock<ComponentId> = OnceLock::new();
static SEEN: AtomicU64 = AtomicU64::new(0);

struct Relay;
guest_kit::export!(Relay);

impl Component for Relay {
    fn metadata() -> ComponentMetadata {
        guest_kit::metadata!(true, ["count", "burst"])
    }

    fn initialize(config: ComponentConfig) -> Result<(), ComponentError> {
        for (name, value) in &config.env_vars {
            let id = match name.as_str() {
                "TARGET" => &TARGET,
                "LAST" => &LAST,
                _ => continue,
            };
            let parsed = parse_id(value)
                .map_err(|_| ComponentError::InitializationFailed(format!("{name}: {value}")))?;
            id.get_or_init(|| parsed);
        }
        Ok(())
    }

    fn handle_message(mut message: ComponentMessage) -> Reply {
        let Some(first) = message.payload.first_chunk_mut() else {
            return seen();
        };
        match u32::from_le_bytes(*first) {
            0 => {
                if let Some(last) = LAST.get() {
                    send(last, &message.payload)?;
                }
                seen()
            }
            COUNT => text(SEEN.load(Ordering::Relaxed).to_string()),
            BURST => burst(&message.payload),
            hops => {
                *first = (hops - 1).to_le_bytes();
                if let Some(target) = TARGET.get() {
                    send(target, &message.payload)?;
                }
                seen()
            }
        }
    }
}

fn seen() -> Reply {
    SEEN.store(SEEN.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    Ok(None)
}

fn burst(command: &[u8]) -> Reply {
    let mut args = Args::new(command);
    args.word()?;
    let count: u64 = args.number()?;
    let payload = vec![0; args.number()?];
    let target = TARGET.get().ok_or_else(|| WasmError::RuntimeError("no TARGET".into()))?;
    (0..count).try_for_each(|_| send(target, &payload))?;
    Ok(None)
}

fn send(target: &ComponentId, payload: &[u8]) -> Result<(), WasmError> {
    host_messaging::send(target, payload).map_err(|error| WasmError::RuntimeError(error.render()))
}
