//! Fails as the trapper does, and imports nothing.

use guest_kit::misbehaviour::{COMMANDS, misbehave};
use guest_kit::{Args, Component, ComponentMessage, ComponentMetadata, Reply};

struct Hermit;
guest_kit::export!(Hermit);

impl Component for Hermit {
    fn metadata() -> ComponentMetadata {
        guest_kit::metadata!(false, COMMANDS)
    }

    fn handle_message(message: ComponentMessage) -> Reply {
        let mut args = Args::new(&message.payload);
        let command = args.word()?;
        misbehave(command, args, &message.payload)
    }
}
