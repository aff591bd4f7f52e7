//! Fails like the trapper, without imports.

use std::sync::OnceLock;

use guest_kit::misbehaviour::{COMMANDS, misbehave};
use guest_kit::{
    Args, Component, ComponentConfig, ComponentError, ComponentMessage, ComponentMetadata, Reply,
};

/// The command for `shutdown`.
static AT_SHUTDOWN: OnceLock<String> = OnceLock::new();

struct Hermit;
guest_kit::export!(Hermit);

impl Component for Hermit {
    fn metadata() -> ComponentMetadata {
        guest_kit::metadata!(false, COMMANDS)
    }

    fn initialize(config: ComponentConfig) -> Result<(), ComponentError> {
        for (name, command) in config.env_vars {
            match name.as_str() {
                "AT_INITIALIZE" => drop(obey(command.as_bytes())),
                "AT_SHUTDOWN" => drop(AT_SHUTDOWN.set(command)),
                _ => {}
            }
        }
        Ok(())
    }

    fn handle_message(message: ComponentMessage) -> Reply {
        obey(&message.payload)
    }

    fn shutdown() -> Result<(), ComponentError> {
        if let Some(command) = AT_SHUTDOWN.get() {
            drop(obey(command.as_bytes()));
        }
        Ok(())
    }
}

fn obey(payload: &[u8]) -> Reply {
    let mut args = Args::new(payload);
    let command = args.word()?;
    misbehave(command, args, payload)
}
