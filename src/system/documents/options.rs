//! The options of a load, and the parts that a configuration has as well.

use serde::Deserialize;
use serde_json::Value;

use crate::component::supervision::{Growth, RestartPolicy};
use crate::core::limits::WhenFull;
use crate::security::quota::MAX_HOST_CALL_BYTES;
use crate::storage::namespace::StorageScope;
use crate::system::documents::grants::Capabilities;
use crate::system::documents::values::{Given, Int, List, Table};

#[cfg(test)]
use crate::component::supervision::Supervision;
#[cfg(test)]
use crate::core::limits::{Limits, MailboxBounds};
#[cfg(test)]
use crate::security::quota::Quotas;

/// The host memory that every component may need, for its metadata and its output.
const MIN_HOST_BYTES: u64 = 256 << 10;

/// The time between checks of health.
pub const HEALTH_INTERVAL_MS: u64 = 10_000;

/// The time for a check of health.
pub const HEALTH_TIMEOUT_MS: u64 = 1000;

/// The unhealthy checks after which an instance is given up.
pub const UNHEALTHY_CHECKS: u32 = 3;

/// The earlier versions kept by default.
pub const KEPT_VERSIONS: usize = 2;

/// The longest trial: 30 days.
const MAX_CANARY_MS: u64 = 30 * 86_400_000;

/// The most messages of a trial.
const MAX_CANARY_MESSAGES: u64 = 1_000_000_000;

/// The default share of a canary, in percent.
pub const CANARY_SHARE: u8 = 10;

/// The longest pause before a restart: a day.
const MAX_PAUSE_MS: u64 = 86_400_000;

/// The options of a load: `options_json` of `airssys_engine_load` and `airssys_engine_load_file`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "load-options"))]
pub struct LoadDocument {
    /// Environment variables. They are passed to `initialize`, are the environment that WASI
    /// reports, and values of `wasi:config`.
    pub env: Option<Table<String>>,
    /// The component's own configuration, passed to `initialize`: a string as its bytes, any other
    /// value as JSON text. The members of an object are values of `wasi:config`.
    pub config: Option<Value>,
    /// What the component may use. A key that is absent has the value that the configuration of the
    /// engine gives it.
    pub limits: Option<LimitsDocument>,
    /// How the mailbox treats incoming messages.
    pub mailbox: Option<MailboxDocument>,
    /// Number of instances that share the handle, the id, the storage and the work, least busy
    /// first. Each has a mailbox, a memory and limits of its own.
    #[cfg_attr(test, schemars(extend("default" = 1)))]
    pub instances: Option<Int<1, 4096>>,
    /// What self-describing payloads may be. A payload that begins with the multicodec prefix of
    /// another codec is refused when it is sent. If the array is empty, payloads are not examined.
    #[cfg_attr(test, schemars(with = "Option<Vec<crate::system::documents::schema::CodecName>>"))]
    #[cfg_attr(test, schemars(extend("default" = [])))]
    pub codecs: Option<List<String>>,
    /// What the component may do. `null` grants nothing; if the key is absent, the component gets
    /// the capabilities that the configuration of the engine names.
    #[serde(default)]
    pub capabilities: Given<Capabilities>,
    /// How much the component may do. A key that is absent has the value that the configuration of
    /// the engine gives it.
    pub quotas: Option<QuotasDocument>,
    /// What follows a crash. A key that is absent has the value that the configuration of the engine
    /// gives it. `null`, or no such key anywhere: the next message makes a new instance.
    #[serde(default)]
    pub supervision: Given<SupervisionDocument>,
    /// The group of the component, by the name that `airssys_engine_add_group` gave it. A member has
    /// `supervision` even if nothing names one. If the key is absent, the component is on its own.
    pub group: Option<String>,
    /// Number of versions before the current one to which `airssys_engine_rollback` can return. Their
    /// compiled code stays in memory.
    #[cfg_attr(test, schemars(extend("default" = KEPT_VERSIONS)))]
    pub kept_versions: Option<Int<0, 64>>,
    /// Bytes of linear memory beyond which a new instance takes the place of this one, between two
    /// messages: memory of WebAssembly never shrinks. A component that exports `component-state`
    /// hands its state over.
    pub recycle_above_bytes: Option<Int<1>>,
    /// Messages and callbacks after which a new instance takes the place of this one.
    pub recycle_after_messages: Option<Int<1>>,
    /// How long the state of a component that exports `component-state` lasts.
    #[cfg_attr(test, schemars(extend("default" = "volatile")))]
    pub state: Option<StateDocument>,
    /// Whether the state saved last is restored after a crash of the component or the process as
    /// well. It may be what led to the crash. `true` needs a `durable` state.
    #[cfg_attr(test, schemars(extend("default" = false)))]
    pub restore_after_crash: Option<bool>,
    /// When a running component is saved, besides at its end. It needs a `durable` state, and is of
    /// use with `restore-after-crash`. If the key is absent, never.
    pub save_every: Option<SaveEveryDocument>,
    /// Whether a component that exports no `component-lifecycle` is refused with
    /// `AIRSSYS_ERROR_INVALID_COMPONENT`. Such a component handles no messages.
    #[cfg_attr(test, schemars(extend("default" = false)))]
    pub require_lifecycle: Option<bool>,
    /// What the metadata of the component must be. Another component is refused with
    /// `AIRSSYS_ERROR_INVALID_COMPONENT`.
    pub expect: Option<ExpectDocument>,
    /// The SHA-256 of the binary, in hexadecimal digits. Another binary is refused with
    /// `AIRSSYS_ERROR_INVALID_COMPONENT`.
    pub sha256: Option<String>,
    /// An Ed25519 signature over the 32 bytes of the binary's SHA-256, as 128 hexadecimal digits. It
    /// must be by one of the configuration's `trusted-keys`; otherwise the binary is refused with
    /// `AIRSSYS_ERROR_INVALID_COMPONENT`, before it is compiled.
    pub signature: Option<String>,
    /// Checks of the component's `health`. If the key is absent, it is asked at load and by
    /// `airssys_engine_health` only.
    pub health: Option<HealthDocument>,
    /// When the first instance is made.
    #[cfg_attr(test, schemars(extend("default" = "at-load")))]
    pub activation: Option<ActivationDocument>,
    /// Milliseconds without a received message after which the component is `passive`: its state is
    /// saved if it exports `component-state`, `shutdown` is called, and the instance is released. The
    /// next message makes a new instance and restores the state. A component that waits for the
    /// outcome of a request is not passivated. If the key is absent, idleness does not matter.
    pub idle_timeout_ms: Option<Int<1>>,
    /// Which namespace of the storage the component uses.
    pub storage: Option<LoadStorageDocument>,
}

/// How long the state of a component lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "state"))]
pub enum StateDocument {
    /// Until the component is stopped, restarted or unloaded, or crashes.
    Volatile,
    /// Beyond the end of the process: it is saved in the engine's storage when the component is
    /// stopped, unloaded, shut down with its engine or passivated, and restored at the next start of
    /// a component with this id. `airssys_engine_restart` forgets it.
    Durable,
}

/// When a running component is saved.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "save-every"))]
pub struct SaveEveryDocument {
    /// After this many messages and callbacks.
    pub messages: Option<Int<1>>,
    /// Milliseconds between saves; a component that has handled nothing since is not saved.
    pub ms: Option<Int<1, MAX_PAUSE_MS>>,
}

/// The options of a replacement: `options_json` of `airssys_engine_replace` and
/// `airssys_engine_replace_file`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "replace-options"))]
pub struct ReplaceDocument {
    /// Environment variables, in place of all earlier ones. If the key is absent, they stay.
    pub env: Option<Table<String>>,
    /// The component's own configuration, as for a load. `null`: none. If the key is absent, it
    /// stays.
    #[serde(default)]
    pub config: Given<Value>,
    /// Milliseconds within which the new instance must report itself `healthy`. If the key is
    /// absent, its health does not matter.
    pub health_gate_ms: Option<Int<0>>,
    /// Milliseconds that the new instance waits for the message in progress, which is not
    /// interrupted. If the key is absent, it waits as long as needed.
    pub timeout_ms: Option<Int<0>>,
    /// What the metadata of the component must be, as for a load.
    pub expect: Option<ExpectDocument>,
    /// Whether the version in the metadata must be newer than the one before, by the order of
    /// semantic versions.
    #[cfg_attr(test, schemars(extend("default" = false)))]
    pub newer: Option<bool>,
    /// The SHA-256 of the binary, as for a load.
    pub sha256: Option<String>,
    /// A signature of the binary, as for a load.
    pub signature: Option<String>,
    /// The trial of the new version. If the key is absent, the new version takes over at once.
    pub canary: Option<CanaryDocument>,
}

/// How a new version is tried: each instance of the component has one of the new version beside it,
/// which handles a share of the messages until it is promoted or aborted. The error rate is that of
/// the messages and callbacks that the new version has handled.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "canary"))]
pub struct CanaryDocument {
    /// The share of the messages in percent, exact for each instance.
    #[cfg_attr(test, schemars(extend("default" = CANARY_SHARE)))]
    pub share_percent: Option<Int<1, 100>>,
    /// Messages and callbacks after which the canary is promoted. It is aborted as soon as its errors
    /// exceed what these may have, and later whenever the rate is too high. If the key and `time-ms`
    /// are absent, 100.
    pub messages: Option<Int<1, MAX_CANARY_MESSAGES>>,
    /// Milliseconds after which the canary is promoted, or aborted if it has handled nothing or its
    /// error rate is too high. If `messages` is absent, errors end the trial earlier only if they
    /// exceed what 100 messages may have. If the key is absent, there is no limit.
    pub time_ms: Option<Int<1, MAX_CANARY_MS>>,
    /// The highest error rate in percent. `null`: any.
    #[serde(default)]
    #[cfg_attr(test, schemars(extend("default" = 0)))]
    pub max_error_percent: Given<Int<0, 100>>,
    /// What promotes the canary.
    #[cfg_attr(test, schemars(extend("default" = "automatic")))]
    pub promote: Option<PromoteDocument>,
}

/// What promotes a canary. Errors abort it in both cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "promote"))]
pub enum PromoteDocument {
    /// `messages` or `time-ms`, whichever comes first.
    Automatic,
    /// `airssys_engine_promote` alone. After `time-ms` the canary is aborted.
    ByCall,
}

/// What the metadata of a component must be.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "expect"))]
pub struct ExpectDocument {
    /// The name.
    pub name: Option<String>,
    /// A requirement of semantic versions, such as `^1.2` or `>=1.0.0, <3`.
    pub version: Option<String>,
}

/// What one component may use. A message that exceeds a limit fails with an error that names it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "limits"))]
pub struct LimitsDocument {
    /// Bytes over all linear memories of the component.
    #[cfg_attr(test, schemars(extend("default" = Limits::default().max_memory_bytes)))]
    pub max_memory_bytes: Option<Int<0>>,
    /// Bytes of host memory that the component may occupy: queued messages, pending requests,
    /// metadata, and what it stores in memory. If the key is absent and `max-bytes` of the mailbox
    /// is larger than the default, that value applies.
    #[cfg_attr(test, schemars(extend("default" = Limits::default().max_host_bytes)))]
    pub max_host_bytes: Option<Int<MIN_HOST_BYTES>>,
    /// Bytes of the payload of one message to the component, of one from it, and of one reply.
    #[cfg_attr(test, schemars(extend("default" = Limits::default().max_message_bytes)))]
    pub max_message_bytes: Option<Int<1, { 1 << 30 }>>,
    /// Milliseconds for one message, host functions and sleeps included.
    #[cfg_attr(test, schemars(extend("default" = Limits::default().max_execution_time_ms())))]
    pub max_execution_time_ms: Option<Int<1>>,
    /// Units of fuel for one message; an instruction takes about one. `null`: no limit.
    #[serde(default)]
    #[cfg_attr(test, schemars(extend("default" = Limits::default().max_fuel)))]
    pub max_fuel: Given<Int<1>>,
    /// Core instances inside the component.
    #[cfg_attr(test, schemars(extend("default" = Limits::default().max_instances)))]
    pub max_instances: Option<Int<1, 100_000>>,
    /// Elements over all tables of the component.
    #[cfg_attr(test, schemars(extend("default" = Limits::default().max_table_elements)))]
    pub max_table_elements: Option<Int<0>>,
}

/// How the health of a component is checked. A check never comes before messages that wait, and is
/// left out if messages came since the one before. A change of health is a `health` event.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "health"))]
pub struct HealthDocument {
    /// Milliseconds between two checks. The first comes at a random time within them.
    #[cfg_attr(test, schemars(extend("default" = HEALTH_INTERVAL_MS)))]
    pub interval_ms: Option<Int<1, MAX_PAUSE_MS>>,
    /// Milliseconds for one check. Beyond them the instance is lost, as after a trap.
    #[cfg_attr(test, schemars(extend("default" = HEALTH_TIMEOUT_MS)))]
    pub timeout_ms: Option<Int<1>>,
    /// `unhealthy` checks in a row, after which `shutdown` is called and the instance is lost, as
    /// after a trap: `supervision` decides what follows. `null`: never.
    #[serde(default)]
    #[cfg_attr(test, schemars(extend("default" = UNHEALTHY_CHECKS)))]
    pub unhealthy_after: Given<Int<1, 1000>>,
}

/// When the first instance of a component is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "activation"))]
pub enum ActivationDocument {
    /// By the load, which fails if that fails.
    AtLoad,
    /// By the first message: until then the component is `passive`, and its metadata is unknown.
    OnDemand,
}

/// Which namespace of the storage a component uses.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "load-storage"))]
pub struct LoadStorageDocument {
    /// Whose keys they are.
    #[cfg_attr(test, schemars(extend("default" = "id")))]
    pub scope: Option<ScopeDocument>,
}

/// Whose keys a component uses.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "scope"))]
pub enum ScopeDocument {
    /// Its own: the namespace is its id, `namespace/name/instance`.
    Id,
    /// Those of all components whose ids begin with the same `namespace/name`, which is the
    /// namespace. The component must be granted that namespace by a pattern: the grant of its own
    /// does not cover it. The quotas of the component apply to the namespace as a whole.
    Name,
}

impl From<Option<ScopeDocument>> for StorageScope {
    fn from(document: Option<ScopeDocument>) -> Self {
        match document {
            None | Some(ScopeDocument::Id) => Self::Id,
            Some(ScopeDocument::Name) => Self::Name,
        }
    }
}

/// What follows the loss of an instance: a trap, a limit, an exit, or a new instance that could not
/// be made. Each instance of a pool has a budget of its own. What the host does (a stop, a restart,
/// an interrupt) takes nothing off it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "supervision"))]
pub struct SupervisionDocument {
    /// When the component gets a new instance.
    #[cfg_attr(test, schemars(extend("default" = Supervision::default().policy.name())))]
    pub restart: Option<RestartDocument>,
    /// Restarts in `window-ms`. At the next one the component is `failed`: waiting messages become
    /// dead letters, and new ones are refused, until `airssys_engine_start`. `null`: no limit.
    #[serde(default)]
    #[cfg_attr(test, schemars(extend("default" = Supervision::default().max_restarts)))]
    pub max_restarts: Given<Int<0, 10_000>>,
    /// Milliseconds of the window in which restarts are counted; it slides.
    #[cfg_attr(test, schemars(extend("default" = millis(Supervision::default().window))))]
    pub window_ms: Option<Int<1>>,
    /// The pauses before restarts. Messages wait meanwhile.
    pub backoff: Option<BackoffDocument>,
}

/// When a component that has lost its instance gets a new one.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "restart"))]
pub enum RestartDocument {
    /// With its next message, as without `supervision`.
    OnDemand,
    /// At once.
    Permanent,
    /// At once; but after an exit with code 0, the component is `stopped`.
    Transient,
    /// Never: the component is `failed`, or `stopped` after an exit with code 0.
    Temporary,
}

/// The pauses before restarts.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "backoff"))]
pub struct BackoffDocument {
    /// How they grow.
    #[cfg_attr(test, schemars(extend("default" = Supervision::default().backoff.growth.name())))]
    pub growth: Option<GrowthDocument>,
    /// Milliseconds of the first.
    #[cfg_attr(test, schemars(extend("default" = millis(Supervision::default().backoff.first))))]
    pub first_ms: Option<Int<0, MAX_PAUSE_MS>>,
    /// Milliseconds of the longest.
    #[cfg_attr(test, schemars(extend("default" = millis(Supervision::default().backoff.longest))))]
    pub max_ms: Option<Int<0, MAX_PAUSE_MS>>,
    /// The share of each pause, in percent, of which a random part is left out, so that components
    /// that crashed together do not restart together.
    #[cfg_attr(test, schemars(extend("default" = Supervision::default().backoff.jitter)))]
    pub jitter_percent: Option<Int<0, 100>>,
    /// Milliseconds without a restart, after which the pauses begin with the first again.
    #[cfg_attr(test, schemars(extend("default" = millis(Supervision::default().backoff.quiet))))]
    pub quiet_ms: Option<Int<1>>,
}

/// How the pauses before restarts grow.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "growth"))]
pub enum GrowthDocument {
    /// There are none.
    None,
    /// All are as long as the first.
    Fixed,
    /// Each is twice as long as the one before.
    Exponential,
}

impl From<RestartDocument> for RestartPolicy {
    fn from(document: RestartDocument) -> Self {
        match document {
            RestartDocument::OnDemand => Self::OnDemand,
            RestartDocument::Permanent => Self::Permanent,
            RestartDocument::Transient => Self::Transient,
            RestartDocument::Temporary => Self::Temporary,
        }
    }
}

impl From<GrowthDocument> for Growth {
    fn from(document: GrowthDocument) -> Self {
        match document {
            GrowthDocument::None => Self::None,
            GrowthDocument::Fixed => Self::Fixed,
            GrowthDocument::Exponential => Self::Exponential,
        }
    }
}

#[cfg(test)]
fn millis(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// How a mailbox treats incoming messages.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "mailbox"))]
pub struct MailboxDocument {
    /// Number of messages that may wait.
    #[cfg_attr(test, schemars(extend("default" = MailboxBounds::default().messages)))]
    pub capacity: Option<Int<1, { 1 << 20 }>>,
    /// Bytes that may wait: payloads, content types, and 256 for each message. A single message may
    /// exceed it.
    #[cfg_attr(test, schemars(extend("default" = MailboxBounds::default().bytes)))]
    pub max_bytes: Option<Int<1>>,
    /// What happens to a message for which there is no room.
    #[cfg_attr(test, schemars(extend("default" = WhenFull::default().name())))]
    pub when_full: Option<WhenFullDocument>,
}

/// What happens to a message for which a mailbox has no room.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "when-full"))]
pub enum WhenFullDocument {
    /// The message is refused, and its sender is told.
    Reject,
    /// The sender waits for room.
    Block,
    /// The message that has waited longest is dropped, and becomes a dead letter.
    DropOldest,
}

impl From<WhenFullDocument> for WhenFull {
    fn from(document: WhenFullDocument) -> Self {
        match document {
            WhenFullDocument::Reject => Self::Reject,
            WhenFullDocument::Block => Self::Block,
            WhenFullDocument::DropOldest => Self::DropOldest,
        }
    }
}

/// How much one component may do in a second, and hold at a time. Instances that share a handle
/// share its quotas. What a second allows may come at once; a larger piece passes when nothing of
/// the quota is in use, and is charged to the seconds that follow.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "quotas"))]
pub struct QuotasDocument {
    /// Sends, requests and targets of broadcasts per second. `null`: no limit.
    #[serde(default)]
    #[cfg_attr(test, schemars(extend("default" = Quotas::default().messages_per_second)))]
    pub messages_per_second: Given<Int<1>>,
    /// Requests that have no outcome yet, at a time. `null`: no limit.
    #[serde(default)]
    #[cfg_attr(test, schemars(extend("default" = Quotas::default().outstanding_requests)))]
    pub outstanding_requests: Given<Int<1>>,
    /// Bytes of stored keys and values. `null`: no limit.
    #[serde(default)]
    #[cfg_attr(test, schemars(extend("default" = Quotas::default().storage_bytes)))]
    pub storage_bytes: Given<Int<1>>,
    /// Number of stored keys. `null`: no limit.
    #[serde(default)]
    #[cfg_attr(test, schemars(extend("default" = Quotas::default().storage_keys)))]
    pub storage_keys: Given<Int<1>>,
    /// Bytes of log records and output per second, with 64 added for each record and each pair.
    /// What exceeds it is dropped, and counted in a record once there is room again. `null`: no
    /// limit.
    #[serde(default)]
    #[cfg_attr(test, schemars(extend("default" = Quotas::default().log_bytes_per_second)))]
    pub log_bytes_per_second: Given<Int<1>>,
    /// Random bytes per second. `null`: no limit.
    #[serde(default)]
    #[cfg_attr(test, schemars(extend("default" = Quotas::default().random_bytes_per_second)))]
    pub random_bytes_per_second: Given<Int<1>>,
    /// Calls per second of functions that the host offers. `null`: no limit.
    #[serde(default)]
    #[cfg_attr(test, schemars(extend("default" = Quotas::default().host_functions_per_second)))]
    pub host_functions_per_second: Given<Int<1>>,
    /// Bytes that one call of a host function, or of the component's own functions, moves from the
    /// component to the host. If the key is absent and twice `max-message-bytes` is larger than the
    /// default, that value applies.
    #[cfg_attr(test, schemars(extend("default" = Quotas::default().host_call_bytes)))]
    pub host_call_data_bytes: Option<Int<1, MAX_HOST_CALL_BYTES>>,
    /// Files, sockets, timers and streams that an instance has open at a time.
    #[cfg_attr(test, schemars(extend("default" = Quotas::default().wasi_resources)))]
    pub wasi_resources: Option<Int<1, { 1 << 20 }>>,
}
