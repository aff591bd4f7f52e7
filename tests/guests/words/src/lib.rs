//! Counts the words of texts: an example of cooperating components.
//!
//! A host sends `count` and a text. This component sends each paragraph to `demo/splitter/0` and
//! adds the returned counts to the sums in its storage, which outlive this instance.

use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::BTreeMap;

use guest_kit::types::LogLevel;
use guest_kit::{
    Args, Component, ComponentId, ComponentMessage, ComponentMetadata, Render, Reply, StorageError,
    WasmError, host_messaging, host_services, storage, text,
};

const TIMEOUT_MS: u64 = 5_000;
const ERROR_TYPE: &str = "application/vnd.airssys.error+json";

// An instance runs one function at a time, so plain cells are enough.
thread_local! {
    static CHUNKS: Cell<u64> = const { Cell::new(0) };
    static OUTSTANDING: Cell<u64> = const { Cell::new(0) };
}

struct Words;
guest_kit::export!(Words);

impl Component for Words {
    fn metadata() -> ComponentMetadata {
        guest_kit::metadata!(true, ["count", "status", "top"])
    }

    fn handle_message(message: ComponentMessage) -> Reply {
        let mut args = Args::new(&message.payload);
        match args.word()? {
            "count" => count(args.rest_text()?),
            "status" => {
                let (chunks, outstanding) = (CHUNKS.get(), OUTSTANDING.get());
                text(
                    serde_json::json!({ "chunks": chunks, "outstanding": outstanding }).to_string(),
                )
            }
            "top" => top(args.number()?),
            other => Args::unknown(other),
        }
    }

    /// Called once per request, whether it was answered or failed.
    fn handle_callback(message: ComponentMessage) -> Result<(), WasmError> {
        // A new instance also gets callbacks for requests of the previous one, which it did not
        // count.
        OUTSTANDING.set(OUTSTANDING.get().saturating_sub(1));
        if message.metadata.content_type.as_deref() == Some(ERROR_TYPE) {
            let reason = String::from_utf8_lossy(&message.payload);
            host_services::log(LogLevel::Warn, &format!("a chunk was not counted: {reason}"), None);
            return Ok(());
        }

        let counts: BTreeMap<String, u64> = serde_json::from_slice(&message.payload)
            .map_err(|error| WasmError::RuntimeError(error.to_string()))?;
        for (word, count) in &counts {
            add(word, *count).map_err(storage_failed)?;
        }

        let context = [
            ("words".to_string(), counts.values().sum::<u64>().to_string()),
            ("outstanding".to_string(), OUTSTANDING.get().to_string()),
        ];
        host_services::log(LogLevel::Info, "counted a chunk", Some(&context));
        Ok(())
    }
}

/// Requests the counts of each paragraph. The replies arrive after this function has returned.
fn count(text_to_count: &str) -> Reply {
    let splitter =
        ComponentId { namespace: "demo".into(), name: "splitter".into(), instance: "0".into() };
    let mut sent = 0;
    for chunk in text_to_count.split("\n\n").filter(|chunk| !chunk.trim().is_empty()) {
        host_messaging::request(&splitter, chunk.as_bytes(), TIMEOUT_MS).map_err(|error| {
            WasmError::RuntimeError(format!("after {sent} chunks: {}", error.render()))
        })?;
        sent += 1;
        CHUNKS.set(CHUNKS.get() + 1);
        OUTSTANDING.set(OUTSTANDING.get() + 1);
    }
    text(format!("{sent} chunks"))
}

fn add(word: &str, count: u64) -> Result<(), StorageError> {
    let key = format!("word:{word}");
    let sum = stored(&key)? + count;
    storage::set(&key, sum.to_string().as_bytes())
}

fn stored(key: &str) -> Result<u64, StorageError> {
    let value = storage::get(key)?.unwrap_or_default();
    Ok(String::from_utf8_lossy(&value).parse().unwrap_or(0))
}

/// The most frequent words, one per line. Ties are in alphabetical order.
fn top(limit: usize) -> Reply {
    let mut counts = Vec::new();
    for key in storage::list_keys(Some("word:")).map_err(storage_failed)? {
        counts.push((stored(&key).map_err(storage_failed)?, key));
    }
    counts.sort_by_key(|(count, key)| (Reverse(*count), key.clone()));

    let lines =
        counts.iter().take(limit).map(|(count, key)| format!("{count} {}", &key["word:".len()..]));
    text(lines.collect::<Vec<_>>().join("\n"))
}

fn storage_failed(error: StorageError) -> WasmError {
    WasmError::RuntimeError(format!("storage: {}", error.render()))
}
