//! Counts the words of one piece of text. The other half of the example is in `words`.
//!
//! The reply to a text is a JSON object: each word in lower case, and how often it occurs.

use std::collections::BTreeMap;

use guest_kit::{Component, ComponentMessage, ComponentMetadata, Reply, WasmError, text};

struct Splitter;
guest_kit::export!(Splitter);

impl Component for Splitter {
    fn metadata() -> ComponentMetadata {
        guest_kit::metadata!(false, ["split"])
    }

    fn handle_message(message: ComponentMessage) -> Reply {
        let chunk = String::from_utf8(message.payload)
            .map_err(|_| WasmError::RuntimeError("the text is not UTF-8".into()))?;

        let mut counts = BTreeMap::<String, u64>::new();
        for word in chunk.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
            *counts.entry(word.to_lowercase()).or_default() += 1;
        }

        // The return value is the reply. It arrives in the `handle_callback` of the requester.
        text(serde_json::json!(counts).to_string())
    }
}
