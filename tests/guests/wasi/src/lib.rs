//! Uses WASI through the Rust standard library and directly.

mod clocks;
mod descriptors;
mod failure;
mod files;
mod network;
mod process;
mod streams;

use guest_kit::{Args, Component, ComponentMessage, ComponentMetadata, Reply};

struct Wasi;
guest_kit::export!(Wasi);

type Handler = fn(&str, Args<'_>) -> Reply;

/// The handlers, by command.
const HANDLERS: [(&[&str], Handler); 6] = [
    (process::COMMANDS, process::handle),
    (files::COMMANDS, files::handle),
    (descriptors::COMMANDS, descriptors::handle),
    (network::COMMANDS, network::handle),
    (clocks::COMMANDS, clocks::handle),
    (streams::COMMANDS, streams::handle),
];

impl Component for Wasi {
    fn metadata() -> ComponentMetadata {
        let commands = HANDLERS.map(|(commands, _)| commands).concat();
        guest_kit::metadata!(true, commands)
    }

    fn handle_message(message: ComponentMessage) -> Reply {
        let mut args = Args::new(&message.payload);
        let command = args.word()?;
        match HANDLERS.iter().find(|(commands, _)| commands.contains(&command)) {
            Some((_, handle)) => handle(command, args),
            None => Args::unknown(command),
        }
    }
}
