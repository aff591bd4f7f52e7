//! The options of one load, from JSON.

use std::time::Duration;

use serde_json::Value;

use crate::core::limits::{Limits, MailboxBounds};
use crate::system::json::{self, Object, OptionsError};

/// The keys of a load's options.
const LOAD_KEYS: &[&str] = &["env", "config", "limits", "mailbox"];
/// The keys of `limits`.
const LIMIT_KEYS: &[&str] = &[
    "max-memory-bytes",
    "max-execution-time-ms",
    "max-fuel",
    "max-instances",
    "max-table-elements",
];
/// The keys of `mailbox`.
const MAILBOX_KEYS: &[&str] = &["capacity", "max-bytes"];

/// How a component is loaded.
#[derive(Debug, PartialEq)]
pub struct LoadOptions {
    /// Environment variables, handed to `initialize`.
    pub env: Vec<(String, String)>,
    /// Configuration, handed to `initialize`.
    pub config: Option<Vec<u8>>,
    /// What the component may use.
    pub limits: Limits,
    /// How much its mailbox holds.
    pub mailbox: MailboxBounds,
}

impl LoadOptions {
    /// Reads the options document; what it does not name is as in `defaults`.
    pub fn parse(text: Option<&str>, defaults: &Limits) -> Result<Self, OptionsError> {
        let document = match text {
            Some(text) => json::parse("options", text)?,
            None => Value::Object(Default::default()),
        };
        let options = Object::new("options", &document, LOAD_KEYS)?;
        Ok(Self {
            env: options.strings("env")?,
            config: options.get("config").map(config_bytes),
            limits: limits(&options, defaults)?,
            mailbox: mailbox_bounds(&options)?,
        })
    }
}

/// A string stands for its bytes, anything else for its JSON text.
fn config_bytes(value: &Value) -> Vec<u8> {
    match value {
        Value::String(text) => text.clone().into_bytes(),
        other => other.to_string().into_bytes(),
    }
}

fn mailbox_bounds(options: &Object<'_>) -> Result<MailboxBounds, OptionsError> {
    let mut bounds = MailboxBounds::default();
    let Some(mailbox) = options.object("mailbox", MAILBOX_KEYS)? else { return Ok(bounds) };
    if let Some(messages) = mailbox.integer("capacity", 1..=1 << 20)? {
        bounds.messages = messages as usize;
    }
    if let Some(bytes) = mailbox.integer("max-bytes", 1..=u64::MAX)? {
        bounds.bytes = bytes;
    }
    Ok(bounds)
}

/// Reads the member `limits` of a document; what it does not name is as in `defaults`.
pub fn limits(parent: &Object<'_>, defaults: &Limits) -> Result<Limits, OptionsError> {
    let mut limits = defaults.clone();
    let Some(object) = parent.object("limits", LIMIT_KEYS)? else { return Ok(limits) };
    if let Some(bytes) = object.integer("max-memory-bytes", 0..=u64::MAX)? {
        limits.max_memory_bytes = bytes;
    }
    if let Some(millis) = object.integer("max-execution-time-ms", 1..=u64::MAX)? {
        limits.max_execution_time = Duration::from_millis(millis);
    }
    if object.has("max-fuel") {
        limits.max_fuel = object.integer("max-fuel", 1..=u64::MAX)?;
    }
    if let Some(instances) = object.integer("max-instances", 1..=100_000)? {
        limits.max_instances = instances as usize;
    }
    if let Some(elements) = object.integer("max-table-elements", 0..=u64::MAX)? {
        limits.max_table_elements = elements;
    }
    Ok(limits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        LoadOptions::parse(Some(text), &Limits::default()).unwrap_err().to_string()
    }

    #[test]
    fn absent_options_are_the_defaults() {
        let limits = Limits { max_fuel: Some(7), ..Limits::default() };
        let none = LoadOptions::parse(None, &limits).unwrap();
        assert_eq!(none, LoadOptions::parse(Some("{}"), &limits).unwrap());
        assert_eq!((none.limits, none.mailbox), (limits, MailboxBounds::default()));
    }

    #[test]
    fn null_lifts_the_default_fuel_limit() {
        let defaults = Limits { max_fuel: Some(7), ..Limits::default() };
        let fuel = |text| LoadOptions::parse(Some(text), &defaults).unwrap().limits.max_fuel;
        assert_eq!(fuel(r#"{"limits": {}}"#), Some(7));
        assert_eq!(fuel(r#"{"limits": {"max-fuel": null}}"#), None);
    }

    #[test]
    fn every_option_is_read() {
        let text = r#"{
            "env": {"A": "1", "B": "2"}, "config": {"x": [1]}, "mailbox": {"capacity": 2, "max-bytes": 9},
            "limits": {"max-memory-bytes": 1, "max-execution-time-ms": 2, "max-fuel": 3,
                       "max-instances": 4, "max-table-elements": 5}
        }"#;
        let options = LoadOptions::parse(Some(text), &Limits::default()).unwrap();
        let env = [("A", "1"), ("B", "2")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert_eq!(options.env, env);
        assert_eq!(options.config.as_deref(), Some(b"{\"x\":[1]}".as_slice()));
        assert_eq!(options.mailbox, MailboxBounds { messages: 2, bytes: 9 });
        let limits = Limits {
            max_memory_bytes: 1,
            max_execution_time: Duration::from_millis(2),
            max_fuel: Some(3),
            max_instances: 4,
            max_table_elements: 5,
        };
        assert_eq!(options.limits, limits);
    }

    #[test]
    fn a_string_is_handed_over_as_it_is() {
        let options = LoadOptions::parse(Some(r#"{"config": "a \"b\""}"#), &Limits::default());
        assert_eq!(options.unwrap().config.as_deref(), Some(b"a \"b\"".as_slice()));
    }

    #[test]
    fn errors_name_document_place_and_nearest_key() {
        for (text, expected) in [
            ("{", "options: EOF while parsing an object at line 1 column 1"),
            ("[]", "options: an object expected, an array found"),
            (r#"{"limit": {}}"#, r#"options: unknown key "limit", did you mean "limits"?"#),
            (r#"{"zzz": 1}"#, r#"unknown key "zzz", known are env, config, limits, mailbox"#),
            (
                r#"{"limits": {"max-memory": 1}}"#,
                r#"options.limits: unknown key "max-memory", did you mean "max-memory-bytes"?"#,
            ),
            (
                r#"{"limits": {"max-fuel": "much"}}"#,
                "options.limits.max-fuel: an integer of at least 1 expected, a string found",
            ),
            (r#"{"limits": {"max-fuel": -1}}"#, "options.limits.max-fuel: -1 is not allowed"),
            (r#"{"limits": {"max-fuel": 1.5}}"#, "options.limits.max-fuel: 1.5 is not allowed"),
            (
                r#"{"mailbox": {"capacity": 0}}"#,
                "options.mailbox.capacity: 0 is not allowed, an integer from 1 to 1048576 expected",
            ),
            (r#"{"env": ["A=1"]}"#, "options.env: an object of strings expected, an array found"),
            (r#"{"env": {"A": 1}}"#, "options.env.A: a string expected, a number found"),
        ] {
            let error = error(text);
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
