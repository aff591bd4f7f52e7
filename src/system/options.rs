//! The options of one load, from JSON.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::core::codec::{Codec, CodecSet};
use crate::core::id::shorten;
use crate::core::limits::{Limits, WhenFull};
use crate::messaging::mailbox::MailboxOptions;
use crate::security::capability::Capabilities;
use crate::security::quota::{MAX_HOST_CALL_BYTES, Quotas};
use crate::system::capabilities;
use crate::system::json::{self, Object, OptionsError};

/// The keys of a load's options.
const LOAD_KEYS: &[&str] =
    &["env", "config", "limits", "mailbox", "instances", "codecs", "capabilities", "quotas"];
/// The keys of `limits`.
const LIMIT_KEYS: &[&str] = &[
    "max-memory-bytes",
    "max-host-bytes",
    "max-message-bytes",
    "max-execution-time-ms",
    "max-fuel",
    "max-instances",
    "max-table-elements",
];
/// The keys of `quotas`.
const QUOTA_KEYS: &[&str] = &[
    "messages-per-second",
    "outstanding-requests",
    "storage-bytes",
    "storage-keys",
    "log-bytes-per-second",
    "random-bytes-per-second",
    "host-call-data-bytes",
    "wasi-resources",
];
/// The keys of `mailbox`.
const MAILBOX_KEYS: &[&str] = &["capacity", "max-bytes", "when-full"];

/// The least that the host holds for a component, whatever it does: its metadata, its output.
const MIN_HOST_BYTES: u64 = 256 << 10;

/// The largest message that any component takes or hands over.
const MAX_MESSAGE_BYTES: u64 = 1 << 30;

/// The most instances that one load may make.
const MAX_POOL: u64 = 4096;

/// How a component is loaded.
#[derive(Debug)]
pub struct LoadOptions {
    /// Environment variables, handed to `initialize`.
    pub env: Vec<(String, String)>,
    /// Configuration, handed to `initialize`.
    pub config: Option<Vec<u8>>,
    /// What the component may use.
    pub limits: Limits,
    /// How its mailbox treats what comes in.
    pub mailbox: MailboxOptions,
    /// How many instances share the work.
    pub instances: usize,
    /// What the component may do.
    pub capabilities: Arc<Capabilities>,
    /// How much of it.
    pub quotas: Quotas,
}

/// What holds for a load that says nothing of its own.
#[derive(Clone, Debug, Default)]
pub struct Defaults {
    /// What components may use.
    pub limits: Limits,
    /// How much they may do.
    pub quotas: Quotas,
    /// What they may do.
    pub capabilities: DefaultCapabilities,
}

/// What a load that names no capabilities grants.
#[derive(Clone, Debug)]
pub enum DefaultCapabilities {
    /// The same to all.
    Shared(Arc<Capabilities>),
    /// What expires, as it was written: it begins with each load.
    Written(Value),
}

impl Default for DefaultCapabilities {
    fn default() -> Self {
        Self::Shared(Arc::default())
    }
}

impl DefaultCapabilities {
    /// Reads the member of a configuration.
    pub fn read(place: String, value: &Value) -> Result<Self, OptionsError> {
        let capabilities = capabilities::read(place, value)?;
        let expires = capabilities.all().iter().any(|grant| grant.expires.is_some());
        if expires {
            Ok(Self::Written(value.clone()))
        } else {
            Ok(Self::Shared(Arc::new(capabilities)))
        }
    }

    fn for_load(&self) -> Result<Arc<Capabilities>, OptionsError> {
        match self {
            Self::Shared(capabilities) => Ok(Arc::clone(capabilities)),
            Self::Written(value) => {
                capabilities::read("config.capabilities".into(), value).map(Arc::new)
            }
        }
    }
}

impl LoadOptions {
    /// Reads the options document; what it does not name is as in `defaults`.
    pub fn parse(text: Option<&str>, defaults: &Defaults) -> Result<Self, OptionsError> {
        let document = match text {
            Some(text) => json::parse("options", text)?,
            None => Value::Object(Default::default()),
        };
        let options = Object::new("options", &document, LOAD_KEYS)?;
        let mut limits = limits(&options, &defaults.limits)?;
        let mut quotas = quotas(&options, &defaults.quotas)?;
        if quotas.host_call_bytes == Quotas::default().host_call_bytes {
            // Unless it was said otherwise, a message of the greatest size can be handed over.
            quotas.host_call_bytes = quotas.host_call_bytes.max(limits.max_message_bytes * 2);
        }
        let mut mailbox = mailbox(&options)?;
        mailbox.bounds.max_message = limits.max_message_bytes;
        if limits.max_host_bytes == Limits::default().max_host_bytes {
            // Unless it was said otherwise, a mailbox can be filled.
            limits.max_host_bytes = limits.max_host_bytes.max(mailbox.bounds.bytes);
        }
        Ok(Self {
            env: options.strings("env")?,
            config: options.get("config").map(config_bytes),
            limits,
            mailbox,
            instances: options.integer("instances", 1..=MAX_POOL)?.unwrap_or(1) as usize,
            capabilities: match options.get("capabilities") {
                Some(value) => Arc::new(capabilities::read(options.place("capabilities"), value)?),
                // A null of its own says that nothing is granted.
                None if options.has("capabilities") => Arc::default(),
                None => defaults.capabilities.for_load()?,
            },
            quotas,
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

fn mailbox(options: &Object<'_>) -> Result<MailboxOptions, OptionsError> {
    let mut read = MailboxOptions { codecs: codecs(options)?, ..MailboxOptions::default() };
    let Some(mailbox) = options.object("mailbox", MAILBOX_KEYS)? else { return Ok(read) };
    if let Some(messages) = mailbox.integer("capacity", 1..=1 << 20)? {
        read.bounds.messages = messages as usize;
    }
    if let Some(bytes) = mailbox.integer("max-bytes", 1..=u64::MAX)? {
        read.bounds.bytes = bytes;
    }
    if let Some(name) = mailbox.string("when-full")? {
        let policy = WhenFull::ALL.iter().find(|(known, _)| *known == name);
        let known = WhenFull::ALL.map(|(known, _)| known);
        let (_, policy) =
            policy.ok_or_else(|| json::not_one_of(mailbox.place("when-full"), name, &known))?;
        read.when_full = *policy;
    }
    Ok(read)
}

fn codecs(options: &Object<'_>) -> Result<CodecSet, OptionsError> {
    let names = options.texts("codecs")?;
    CodecSet::from_names(names.iter().copied()).map_err(|unknown| OptionsError::OutOfRange {
        place: options.place("codecs"),
        value: format!("{:?}", shorten(&unknown.name)),
        expected: Codec::ALL.iter().map(|codec| codec.name()).collect::<Vec<_>>().join(", "),
    })
}

/// Reads the member `limits` of a document; what it does not name is as in `defaults`.
pub fn limits(parent: &Object<'_>, defaults: &Limits) -> Result<Limits, OptionsError> {
    let mut limits = defaults.clone();
    let Some(object) = parent.object("limits", LIMIT_KEYS)? else { return Ok(limits) };
    if let Some(bytes) = object.integer("max-memory-bytes", 0..=u64::MAX)? {
        limits.max_memory_bytes = bytes;
    }
    if let Some(bytes) = object.integer("max-host-bytes", MIN_HOST_BYTES..=u64::MAX)? {
        limits.max_host_bytes = bytes;
    }
    if let Some(bytes) = object.integer("max-message-bytes", 1..=MAX_MESSAGE_BYTES)? {
        limits.max_message_bytes = bytes;
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

/// Reads the member `quotas` of a document; what it does not name is as in `defaults`, and null
/// lifts a quota.
pub fn quotas(parent: &Object<'_>, defaults: &Quotas) -> Result<Quotas, OptionsError> {
    let mut quotas = defaults.clone();
    let Some(object) = parent.object("quotas", QUOTA_KEYS)? else { return Ok(quotas) };
    for (key, quota) in [
        ("messages-per-second", &mut quotas.messages_per_second),
        ("outstanding-requests", &mut quotas.outstanding_requests),
        ("storage-bytes", &mut quotas.storage_bytes),
        ("storage-keys", &mut quotas.storage_keys),
        ("log-bytes-per-second", &mut quotas.log_bytes_per_second),
        ("random-bytes-per-second", &mut quotas.random_bytes_per_second),
    ] {
        if object.has(key) {
            *quota = object.integer(key, 1..=u64::MAX)?;
        }
    }
    if let Some(bytes) = object.integer("host-call-data-bytes", 1..=MAX_HOST_CALL_BYTES)? {
        quotas.host_call_bytes = bytes;
    }
    if let Some(count) = object.integer("wasi-resources", 1..=1 << 20)? {
        quotas.wasi_resources = count;
    }
    Ok(quotas)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::limits::MailboxBounds;

    fn error(text: &str) -> String {
        LoadOptions::parse(Some(text), &Defaults::default()).unwrap_err().to_string()
    }

    #[test]
    fn absent_options_are_the_defaults() {
        let limits = Limits { max_fuel: Some(7), ..Limits::default() };
        let quotas = Quotas { storage_keys: Some(9), ..Quotas::default() };
        let defaults = Defaults { limits, quotas, ..Defaults::default() };
        for text in [None, Some("{}")] {
            let none = LoadOptions::parse(text, &defaults).unwrap();
            assert_eq!((&none.limits, &none.quotas), (&defaults.limits, &defaults.quotas));
            assert_eq!((none.mailbox, none.instances), (MailboxOptions::default(), 1));
            assert!(none.capabilities.all().is_empty() && none.env.is_empty());
        }
    }

    #[test]
    fn null_lifts_the_default_fuel_limit() {
        let limits = Limits { max_fuel: Some(7), ..Limits::default() };
        let defaults = Defaults { limits, ..Defaults::default() };
        let fuel = |text| LoadOptions::parse(Some(text), &defaults).unwrap().limits.max_fuel;
        assert_eq!(fuel(r#"{"limits": {}}"#), Some(7));
        assert_eq!(fuel(r#"{"limits": {"max-fuel": null}}"#), None);
    }

    #[test]
    fn every_option_is_read() {
        let text = r#"{
            "env": {"A": "1", "B": "2"}, "config": {"x": [1]}, "instances": 3,
            "mailbox": {"capacity": 2, "max-bytes": 9, "when-full": "drop-oldest"},
            "codecs": ["json", "cbor"],
            "limits": {"max-memory-bytes": 1, "max-host-bytes": 1000000, "max-message-bytes": 6,
                       "max-execution-time-ms": 2, "max-fuel": 3,
                       "max-instances": 4, "max-table-elements": 5},
            "quotas": {"messages-per-second": 1, "outstanding-requests": 2, "storage-bytes": 3,
                       "storage-keys": 4, "log-bytes-per-second": 5, "random-bytes-per-second": 6,
                       "host-call-data-bytes": 7, "wasi-resources": 8},
            "capabilities": {"storage": ["read"]}
        }"#;
        let options = LoadOptions::parse(Some(text), &Defaults::default()).unwrap();
        let quotas = Quotas {
            messages_per_second: Some(1),
            outstanding_requests: Some(2),
            storage_bytes: Some(3),
            storage_keys: Some(4),
            log_bytes_per_second: Some(5),
            random_bytes_per_second: Some(6),
            host_call_bytes: 7,
            wasi_resources: 8,
        };
        assert_eq!(options.quotas, quotas);
        assert_eq!(options.capabilities.all().len(), 1);
        let env = [("A", "1"), ("B", "2")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert_eq!(options.env, env);
        assert_eq!(options.config.as_deref(), Some(b"{\"x\":[1]}".as_slice()));
        assert_eq!(options.instances, 3);
        assert_eq!(options.mailbox.bounds, MailboxBounds { messages: 2, bytes: 9, max_message: 6 });
        assert_eq!(options.mailbox.when_full, WhenFull::DropOldest);
        assert_eq!(options.mailbox.codecs.names().collect::<Vec<_>>(), ["cbor", "json"]);
        let limits = Limits {
            max_memory_bytes: 1,
            max_host_bytes: 1_000_000,
            max_message_bytes: 6,
            max_execution_time: Duration::from_millis(2),
            max_fuel: Some(3),
            max_instances: 4,
            max_table_elements: 5,
        };
        assert_eq!(options.limits, limits);
    }

    #[test]
    fn a_string_is_handed_over_as_it_is() {
        let options = LoadOptions::parse(Some(r#"{"config": "a \"b\""}"#), &Defaults::default());
        assert_eq!(options.unwrap().config.as_deref(), Some(b"a \"b\"".as_slice()));
    }

    #[test]
    fn errors_name_document_place_and_nearest_key() {
        for (text, expected) in [
            ("{", "options: EOF while parsing an object at line 1 column 1"),
            ("[]", "options: an object expected, an array found"),
            (r#"{"limit": {}}"#, r#"options: unknown key "limit", did you mean "limits"?"#),
            (r#"{"zzz": 1}"#, r#"unknown key "zzz", known are env, config, limits, mailbox, inst"#),
            (r#"{"instances": 0}"#, "options.instances: 0 is not allowed"),
            (
                r#"{"mailbox": {"when-full": "drop"}}"#,
                r#"options.mailbox.when-full: "drop" is not allowed, "reject" or "block" or "drop-oldest" expected"#,
            ),
            (r#"{"codecs": ["cbor", "xml"]}"#, r#"options.codecs: "xml" is not allowed, "#),
            (
                r#"{"codecs": "cbor"}"#,
                "options.codecs: an array of strings expected, a string found",
            ),
            (r#"{"codecs": [1]}"#, "options.codecs[0]: a string expected, a number found"),
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
