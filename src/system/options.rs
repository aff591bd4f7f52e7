//! The options of a load, parsed from JSON.

use std::sync::Arc;
use std::time::Duration;

use semver::VersionReq;
use serde_json::Value;

use crate::component::canary::Terms;
use crate::component::durable_state::Durability;
use crate::component::expectation::Expectation;
use crate::component::recycling::RecycleWhen;
use crate::component::supervision::Supervision;
use crate::component::upkeep::{Activation, HealthCheck};
use crate::core::codec::{Codec, CodecSet};
use crate::core::id::shorten;
use crate::core::limits::Limits;
use crate::messaging::mailbox::MailboxOptions;
use crate::security::capability;
use crate::security::quota::Quotas;
use crate::security::signature::SIGNATURE_BYTES;
use crate::storage::namespace::StorageScope;
use crate::system::capabilities;
use crate::system::documents::grants::Capabilities;
use crate::system::documents::options::{
    ActivationDocument, CANARY_SHARE, CanaryDocument, ExpectDocument, HEALTH_INTERVAL_MS,
    HEALTH_TIMEOUT_MS, HealthDocument, KEPT_VERSIONS, LimitsDocument, LoadDocument,
    MailboxDocument, PromoteDocument, QuotasDocument, ReplaceDocument, SaveEveryDocument,
    StateDocument, SupervisionDocument, UNHEALTHY_CHECKS,
};
use crate::system::documents::reader::read;
use crate::system::documents::values::{Given, Int};
use crate::system::json::{self, OptionsError};

/// The options of a load.
#[derive(Debug)]
pub struct LoadOptions {
    /// Environment variables, passed to `initialize`.
    pub env: Vec<(String, String)>,
    /// The component's configuration, passed to `initialize`.
    pub config: Option<Vec<u8>>,
    /// The limits of the component.
    pub limits: Limits,
    /// The options of its mailbox.
    pub mailbox: MailboxOptions,
    /// The number of instances that share the work.
    pub instances: usize,
    /// The component's capabilities.
    pub capabilities: Arc<capability::Capabilities>,
    /// The component's quotas.
    pub quotas: Quotas,
    /// How it is supervised.
    pub supervision: Option<Supervision>,
    /// How its state outlives the process, if it does.
    pub durability: Option<Durability>,
    /// The name of its group.
    pub group: Option<String>,
    /// The number of earlier versions kept.
    pub kept_versions: usize,
    /// When instances are recycled.
    pub recycling: Option<RecycleWhen>,
    /// Whether it must have a life cycle.
    pub require_lifecycle: bool,
    /// What its metadata must be.
    pub expectation: Expectation,
    /// The SHA-256 that the binary must have.
    pub sha256: Option<[u8; 32]>,
    /// The signature of the binary.
    pub signature: Option<[u8; SIGNATURE_BYTES]>,
    /// How the health is checked.
    pub health_check: Option<HealthCheck>,
    /// When the component has an instance.
    pub activation: Activation,
    /// Which namespace of the storage it uses.
    pub storage_scope: StorageScope,
}

/// The defaults for loads.
#[derive(Clone, Debug, Default)]
pub struct Defaults {
    /// The limits.
    pub limits: Limits,
    /// The quotas.
    pub quotas: Quotas,
    /// The capabilities.
    pub capabilities: DefaultCapabilities,
    /// The supervision.
    pub supervision: Option<Supervision>,
}

/// The capabilities of a load that names none.
#[derive(Clone, Debug)]
pub enum DefaultCapabilities {
    /// The same for all loads.
    Shared(Arc<capability::Capabilities>),
    /// The document of grants that expire: `expires-in-ms` counts from each load.
    Written(Box<Capabilities>),
}

impl Default for DefaultCapabilities {
    fn default() -> Self {
        Self::Shared(Arc::default())
    }
}

impl DefaultCapabilities {
    /// Compiles the `capabilities` of a configuration.
    pub fn of_config(document: Capabilities) -> Result<Self, OptionsError> {
        let capabilities = capabilities::granted("config.capabilities", &document)?;
        let expires = capabilities.all().iter().any(|grant| grant.expires.is_some());
        if expires {
            Ok(Self::Written(Box::new(document)))
        } else {
            Ok(Self::Shared(Arc::new(capabilities)))
        }
    }

    fn for_load(&self) -> Result<Arc<capability::Capabilities>, OptionsError> {
        match self {
            Self::Shared(capabilities) => Ok(Arc::clone(capabilities)),
            Self::Written(document) => {
                capabilities::granted("config.capabilities", document).map(Arc::new)
            }
        }
    }
}

impl LoadOptions {
    /// Parses the options document. Absent keys have their values in `defaults`.
    pub fn parse(text: Option<&str>, defaults: &Defaults) -> Result<Self, OptionsError> {
        let document: LoadDocument = match text {
            Some(text) => read("options", json::parse("options", text)?)?,
            None => LoadDocument::default(),
        };
        let mut limits = limits(document.limits, &defaults.limits);
        let mut quotas = quotas(document.quotas, &defaults.quotas);
        if quotas.host_call_bytes == Quotas::default().host_call_bytes {
            // Unless configured otherwise, a message of the maximum size can be passed.
            quotas.host_call_bytes = quotas.host_call_bytes.max(limits.max_message_bytes * 2);
        }
        let codecs = codecs(&document.codecs.unwrap_or_default().0)?;
        let mut mailbox = mailbox(document.mailbox.unwrap_or_default(), codecs);
        mailbox.bounds.max_message = limits.max_message_bytes;
        if limits.max_host_bytes == Limits::default().max_host_bytes {
            // Unless configured otherwise, the mailbox can be filled.
            limits.max_host_bytes = limits.max_host_bytes.max(mailbox.bounds.bytes);
        }
        Ok(Self {
            env: document.env.unwrap_or_default().0.into_iter().collect(),
            config: document.config.map(config_bytes),
            limits,
            mailbox,
            instances: document.instances.map_or(1, |Int(count)| count as usize),
            capabilities: match document.capabilities {
                Given::Value(given) => {
                    Arc::new(capabilities::granted("options.capabilities", &given)?)
                }
                Given::Null => Arc::default(),
                Given::Absent => defaults.capabilities.for_load()?,
            },
            quotas,
            kept_versions: document.kept_versions.map_or(KEPT_VERSIONS, |Int(most)| most as usize),
            recycling: recycling(document.recycle_above_bytes, document.recycle_after_messages),
            require_lifecycle: document.require_lifecycle.unwrap_or(false),
            expectation: expectation(document.expect)?,
            sha256: sha256(document.sha256)?,
            signature: signature(document.signature)?,
            health_check: document.health.map(health_check),
            activation: Activation {
                on_demand: document.activation == Some(ActivationDocument::OnDemand),
                idle_timeout: document
                    .idle_timeout_ms
                    .map(|Int(millis)| Duration::from_millis(millis)),
            },
            durability: durability(
                document.state,
                document.restore_after_crash,
                document.save_every,
            )?,
            group: document.group,
            storage_scope: document.storage.and_then(|storage| storage.scope).into(),
            supervision: match document.supervision {
                Given::Value(given) => {
                    Some(supervision(given, defaults.supervision.clone().unwrap_or_default()))
                }
                Given::Null => None,
                Given::Absent => defaults.supervision.clone(),
            },
        })
    }
}

fn expectation(document: Option<ExpectDocument>) -> Result<Expectation, OptionsError> {
    let document = document.unwrap_or_default();
    let version = document.version.map(|text| {
        VersionReq::parse(&text).map_err(|_| OptionsError::OutOfRange {
            place: "options.expect.version".into(),
            value: format!("{:?}", shorten(&text)),
            expected: "a requirement of semantic versions, such as \"^1.2\" or \">=1.0.0, <3\""
                .into(),
        })
    });
    Ok(Expectation { name: document.name, version: version.transpose()?, newer_than: None })
}

fn durability(
    state: Option<StateDocument>,
    restore_after_crash: Option<bool>,
    save_every: Option<SaveEveryDocument>,
) -> Result<Option<Durability>, OptionsError> {
    let needs_durable = |key: &str, value: &str| OptionsError::OutOfRange {
        place: format!("options.{key}"),
        value: value.into(),
        expected: "it only with \"state\": \"durable\"".into(),
    };
    if state != Some(StateDocument::Durable) {
        return match (restore_after_crash, save_every) {
            (Some(true), _) => Err(needs_durable("restore-after-crash", "true")),
            (_, Some(_)) => Err(needs_durable("save-every", "an object")),
            _ => Ok(None),
        };
    }
    let SaveEveryDocument { messages, ms } = save_every.unwrap_or_default();
    Ok(Some(Durability {
        restore_after_crash: restore_after_crash.unwrap_or(false),
        save_after_messages: messages.map(|Int(messages)| messages),
        save_every: ms.map(|Int(millis)| Duration::from_millis(millis)),
    }))
}

fn sha256(text: Option<String>) -> Result<Option<[u8; 32]>, OptionsError> {
    text.map(|text| from_hexadecimal("options.sha256", &text)).transpose()
}

fn signature(text: Option<String>) -> Result<Option<[u8; SIGNATURE_BYTES]>, OptionsError> {
    text.map(|text| from_hexadecimal("options.signature", &text)).transpose()
}

/// Returns the bytes of a text of hexadecimal digits.
pub fn from_hexadecimal<const BYTES: usize>(
    place: &str,
    text: &str,
) -> Result<[u8; BYTES], OptionsError> {
    // A longer text is not read to its end.
    let digits: Option<Vec<_>> =
        text.chars().take(2 * BYTES + 1).map(|digit| digit.to_digit(16)).collect();
    let bytes = digits
        .filter(|digits| digits.len() == 2 * BYTES)
        .map(|digits| std::array::from_fn(|at| (digits[2 * at] * 16 + digits[2 * at + 1]) as u8));
    bytes.ok_or_else(|| OptionsError::OutOfRange {
        place: place.into(),
        value: format!("{:?}", shorten(text)),
        expected: format!("{} hexadecimal digits", 2 * BYTES),
    })
}

fn health_check(document: HealthDocument) -> HealthCheck {
    let millis = |given: Option<u64>, default| Duration::from_millis(given.unwrap_or(default));
    HealthCheck {
        interval: millis(document.interval_ms.map(|Int(millis)| millis), HEALTH_INTERVAL_MS),
        timeout: millis(document.timeout_ms.map(|Int(millis)| millis), HEALTH_TIMEOUT_MS),
        unhealthy_after: document
            .unhealthy_after
            .or(Some(UNHEALTHY_CHECKS), |Int(times)| times as u32),
    }
}

fn recycling(above_bytes: Option<Int<1>>, after_messages: Option<Int<1>>) -> Option<RecycleWhen> {
    let (above_bytes, after_messages) =
        (above_bytes.map(|Int(bytes)| bytes), after_messages.map(|Int(messages)| messages));
    let any = above_bytes.is_some() || after_messages.is_some();
    any.then_some(RecycleWhen { above_bytes, after_messages })
}

/// The options of a replacement.
#[derive(Debug, Default)]
pub struct ReplaceOptions {
    /// The environment; `None` keeps it.
    pub env: Option<Vec<(String, String)>>,
    /// The configuration; `None` keeps it.
    pub config: Option<Option<Vec<u8>>>,
    /// The time within which the new version must be healthy.
    pub health_gate: Option<Duration>,
    /// The longest wait for the message in progress.
    pub timeout: Option<Duration>,
    /// What the metadata must be.
    pub expectation: Expectation,
    /// Whether the version must exceed that of the metadata before.
    pub newer: bool,
    /// The SHA-256 that the binary must have.
    pub sha256: Option<[u8; 32]>,
    /// The signature of the binary.
    pub signature: Option<[u8; SIGNATURE_BYTES]>,
    /// How the version is tried before it takes over.
    pub canary: Option<Terms>,
}

impl ReplaceOptions {
    /// Parses the options document.
    pub fn parse(text: Option<&str>) -> Result<Self, OptionsError> {
        let Some(text) = text else { return Ok(Self::default()) };
        let document: ReplaceDocument = read("options", json::parse("options", text)?)?;
        let millis = |time: Option<Int<0>>| time.map(|Int(millis)| Duration::from_millis(millis));
        Ok(Self {
            env: document.env.map(|env| env.0.into_iter().collect()),
            config: match document.config {
                Given::Absent => None,
                Given::Null => Some(None),
                Given::Value(config) => Some(Some(config_bytes(config))),
            },
            health_gate: millis(document.health_gate_ms),
            timeout: millis(document.timeout_ms),
            expectation: expectation(document.expect)?,
            newer: document.newer.unwrap_or(false),
            sha256: sha256(document.sha256)?,
            signature: signature(document.signature)?,
            canary: document.canary.map(canary),
        })
    }
}

fn canary(document: CanaryDocument) -> Terms {
    Terms {
        share: document.share_percent.map_or(CANARY_SHARE, |Int(percent)| percent as u8),
        messages: document.messages.map(|Int(messages)| messages),
        time: document.time_ms.map(|Int(millis)| Duration::from_millis(millis)),
        max_error_percent: document.max_error_percent.or(Some(0), |Int(percent)| percent as u8),
        by_call: document.promote == Some(PromoteDocument::ByCall),
    }
}

/// Returns the bytes of a string, or the JSON text of any other value.
fn config_bytes(value: Value) -> Vec<u8> {
    match value {
        Value::String(text) => text.into_bytes(),
        other => other.to_string().into_bytes(),
    }
}

fn mailbox(document: MailboxDocument, codecs: CodecSet) -> MailboxOptions {
    let mut mailbox = MailboxOptions { codecs, ..MailboxOptions::default() };
    if let Some(Int(messages)) = document.capacity {
        mailbox.bounds.messages = messages as usize;
    }
    if let Some(Int(bytes)) = document.max_bytes {
        mailbox.bounds.bytes = bytes;
    }
    if let Some(when_full) = document.when_full {
        mailbox.when_full = when_full.into();
    }
    mailbox
}

fn codecs(names: &[String]) -> Result<CodecSet, OptionsError> {
    CodecSet::from_names(names.iter().map(String::as_str)).map_err(|unknown| {
        OptionsError::OutOfRange {
            place: "options.codecs".into(),
            value: format!("{:?}", shorten(&unknown.name)),
            expected: Codec::ALL.iter().map(|codec| codec.name()).collect::<Vec<_>>().join(", "),
        }
    })
}

/// Returns the limits of a document. Absent keys have their values in `defaults`.
pub fn limits(document: Option<LimitsDocument>, defaults: &Limits) -> Limits {
    let mut limits = defaults.clone();
    let document = document.unwrap_or_default();
    if let Some(Int(bytes)) = document.max_memory_bytes {
        limits.max_memory_bytes = bytes;
    }
    if let Some(Int(bytes)) = document.max_host_bytes {
        limits.max_host_bytes = bytes;
    }
    if let Some(Int(bytes)) = document.max_message_bytes {
        limits.max_message_bytes = bytes;
    }
    if let Some(Int(millis)) = document.max_execution_time_ms {
        limits.max_execution_time = Duration::from_millis(millis);
    }
    limits.max_fuel = document.max_fuel.or(limits.max_fuel, |Int(fuel)| fuel);
    if let Some(Int(instances)) = document.max_instances {
        limits.max_instances = instances as usize;
    }
    if let Some(Int(elements)) = document.max_table_elements {
        limits.max_table_elements = elements;
    }
    limits
}

/// Returns the quotas of a document. Absent keys have their values in `defaults`; null lifts a
/// quota.
pub fn quotas(document: Option<QuotasDocument>, defaults: &Quotas) -> Quotas {
    let document = document.unwrap_or_default();
    let or = |given: Given<Int<1>>, default| given.or(default, |Int(quota)| quota);
    Quotas {
        messages_per_second: or(document.messages_per_second, defaults.messages_per_second),
        outstanding_requests: or(document.outstanding_requests, defaults.outstanding_requests),
        storage_bytes: or(document.storage_bytes, defaults.storage_bytes),
        storage_keys: or(document.storage_keys, defaults.storage_keys),
        log_bytes_per_second: or(document.log_bytes_per_second, defaults.log_bytes_per_second),
        random_bytes_per_second: or(
            document.random_bytes_per_second,
            defaults.random_bytes_per_second,
        ),
        host_functions_per_second: or(
            document.host_functions_per_second,
            defaults.host_functions_per_second,
        ),
        host_call_bytes: document
            .host_call_data_bytes
            .map_or(defaults.host_call_bytes, |Int(bytes)| bytes),
        wasi_resources: document.wasi_resources.map_or(defaults.wasi_resources, |Int(count)| count),
    }
}

/// Returns the supervision of a document. Absent keys have their values in `defaults`.
pub fn supervision(document: SupervisionDocument, defaults: Supervision) -> Supervision {
    let mut supervision = defaults;
    if let Some(policy) = document.restart {
        supervision.policy = policy.into();
    }
    supervision.max_restarts =
        document.max_restarts.or(supervision.max_restarts, |Int(most)| most as usize);
    if let Some(Int(millis)) = document.window_ms {
        supervision.window = Duration::from_millis(millis);
    }
    let (backoff, given) = (&mut supervision.backoff, document.backoff.unwrap_or_default());
    if let Some(growth) = given.growth {
        backoff.growth = growth.into();
    }
    if let Some(Int(millis)) = given.first_ms {
        backoff.first = Duration::from_millis(millis);
    }
    if let Some(Int(millis)) = given.max_ms {
        backoff.longest = Duration::from_millis(millis);
    }
    if let Some(Int(percent)) = given.jitter_percent {
        backoff.jitter = percent as u8;
    }
    if let Some(Int(millis)) = given.quiet_ms {
        backoff.quiet = Duration::from_millis(millis);
    }
    supervision
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::component::supervision::{Backoff, Growth, RestartPolicy};
    use crate::core::limits::{MailboxBounds, WhenFull};

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
                       "host-functions-per-second": 9, "host-call-data-bytes": 7,
                       "wasi-resources": 8},
            "capabilities": {"storage": ["read"]}, "kept-versions": 4,
            "recycle-above-bytes": 5, "recycle-after-messages": 6,
            "health": {"interval-ms": 7, "timeout-ms": 8, "unhealthy-after": 9},
            "activation": "on-demand", "idle-timeout-ms": 10, "storage": {"scope": "name"},
            "expect": {"name": "n", "version": "^1.2"},
            "sha256": "000102030405060708090a0b0c0d0e0f101112131415161718191A1B1C1D1E1F",
            "supervision": {"restart": "transient", "max-restarts": 3, "window-ms": 4,
                            "backoff": {"growth": "fixed", "first-ms": 5, "max-ms": 6,
                                        "jitter-percent": 7, "quiet-ms": 8}}
        }"#;
        let options = LoadOptions::parse(Some(text), &Defaults::default()).unwrap();
        let quotas = Quotas {
            messages_per_second: Some(1),
            outstanding_requests: Some(2),
            storage_bytes: Some(3),
            storage_keys: Some(4),
            log_bytes_per_second: Some(5),
            random_bytes_per_second: Some(6),
            host_functions_per_second: Some(9),
            host_call_bytes: 7,
            wasi_resources: 8,
        };
        assert_eq!(options.quotas, quotas);
        assert_eq!(options.capabilities.all().len(), 1);
        let env = [("A", "1"), ("B", "2")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert_eq!(options.env, env);
        assert_eq!(options.config.as_deref(), Some(b"{\"x\":[1]}".as_slice()));
        assert_eq!((options.instances, options.kept_versions), (3, 4));
        let recycling = RecycleWhen { above_bytes: Some(5), after_messages: Some(6) };
        assert_eq!(options.recycling, Some(recycling));
        let health_check = HealthCheck {
            interval: Duration::from_millis(7),
            timeout: Duration::from_millis(8),
            unhealthy_after: Some(9),
        };
        assert_eq!(options.health_check, Some(health_check));
        let version = Some(VersionReq::parse("^1.2").unwrap());
        let expectation = Expectation { name: Some("n".into()), version, newer_than: None };
        assert_eq!(options.expectation, expectation);
        assert_eq!(options.sha256, Some(std::array::from_fn(|at| at as u8)));
        let idle_timeout = Some(Duration::from_millis(10));
        assert_eq!(options.activation, Activation { on_demand: true, idle_timeout });
        assert_eq!(options.storage_scope, StorageScope::Name);
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
        let supervision = Supervision {
            policy: RestartPolicy::Transient,
            max_restarts: Some(3),
            window: Duration::from_millis(4),
            backoff: Backoff {
                growth: Growth::Fixed,
                first: Duration::from_millis(5),
                longest: Duration::from_millis(6),
                jitter: 7,
                quiet: Duration::from_millis(8),
            },
        };
        assert_eq!(options.supervision, Some(supervision));
    }

    #[test]
    fn supervision_takes_from_the_configuration_what_a_load_does_not_name() {
        let supervision = Some(Supervision { max_restarts: Some(7), ..Supervision::default() });
        let configured = Defaults { supervision: supervision.clone(), ..Defaults::default() };
        let of = |text, defaults: &Defaults| {
            LoadOptions::parse(Some(text), defaults).unwrap().supervision
        };
        assert_eq!(of("{}", &Defaults::default()), None);
        assert_eq!(
            of(r#"{"supervision": {}}"#, &Defaults::default()),
            Some(Supervision::default())
        );
        assert_eq!(of("{}", &configured), supervision);
        assert_eq!(of(r#"{"supervision": null}"#, &configured), None);
        let temporary = of(r#"{"supervision": {"restart": "temporary"}}"#, &configured).unwrap();
        assert_eq!((temporary.policy, temporary.max_restarts), (RestartPolicy::Temporary, Some(7)));
        let unlimited = of(r#"{"supervision": {"max-restarts": null}}"#, &configured).unwrap();
        assert_eq!(unlimited.max_restarts, None);
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
            (r#"{"sha256": "12"}"#, "options.sha256: \"12\" is not allowed, 64 hexadecimal digits"),
            (r#"{"expect": {"version": "new"}}"#, "options.expect.version: \"new\" is not allowed"),
            (r#"{"env": ["A=1"]}"#, "options.env: an object of strings expected, an array found"),
            (r#"{"env": {"A": 1}}"#, "options.env.A: a string expected, a number found"),
        ] {
            let error = error(text);
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
