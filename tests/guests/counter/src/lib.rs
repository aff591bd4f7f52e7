//! Counts in memory. The count ends with the instance.

use std::cell::Cell;

use guest_kit::{Args, Component, ComponentMessage, ComponentMetadata, Reply, text};

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

struct Counter;
guest_kit::export!(Counter);

impl Component for Counter {
    fn metadata() -> ComponentMetadata {
        guest_kit::metadata!(true, ["inc", "get"])
    }

    fn handle_message(message: ComponentMessage) -> Reply {
        match Args::new(&message.payload).word()? {
            "inc" => COUNT.set(COUNT.get() + 1),
            "get" => {}
            other => return Args::unknown(other),
        }
        text(COUNT.get().to_string())
    }
}
