//! Replies with the message. The benchmarks measure it, so it must do nothing else.

use guest_kit::{Component, ComponentMessage, ComponentMetadata, Reply};

struct Echo;
guest_kit::export!(Echo);

impl Component for Echo {
    fn metadata() -> ComponentMetadata {
        guest_kit::metadata!(false, ["echo"])
    }

    fn handle_message(message: ComponentMessage) -> Reply {
        Ok(Some(message.payload))
    }
}
