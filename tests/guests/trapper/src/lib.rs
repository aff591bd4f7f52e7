//! Fails in every way that a guest can.

use guest_kit::misbehaviour::{COMMANDS, misbehave};
use guest_kit::types::LogLevel;
use guest_kit::{Args, Component, ComponentMessage, ComponentMetadata, Reply, host_services, text};

struct Trapper;
guest_kit::export!(Trapper);

impl Component for Trapper {
    fn metadata() -> ComponentMetadata {
        let commands: Vec<_> = ["loop-log", "sleep"].into_iter().chain(COMMANDS).collect();
        guest_kit::metadata!(false, commands)
    }

    fn handle_message(message: ComponentMessage) -> Reply {
        let mut args = Args::new(&message.payload);
        match args.word()? {
            "loop-log" => loop {
                host_services::log(LogLevel::Info, "still here", None);
            },
            "sleep" => host_services::sleep_millis(args.number()?),
            other => return misbehave(other, args, &message.payload),
        }
        text("ok")
    }
}
