//! JSON snapshots of an engine and its components.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::component::actor::Actor;
use crate::component::canary::Canary;
use crate::component::lifecycle::State;
use crate::component::pool::Pool;
use crate::component::status::Counts;
use crate::component::supervision::Supervision;
use crate::core::limits::Limits;
use crate::messaging::queue::Traffic;
use crate::runtime::cache::store::CacheCounts;
use crate::runtime::contract::HealthStatus;
use crate::runtime::prepared::hexadecimal;
use crate::security::capability::Grant;
use crate::security::quota::Quotas;
use crate::storage::backend::Footprint;
use crate::system::components::Component;
use crate::system::groups::group_name;
use crate::system::notifier::Lost;

/// The most components listed as not ready.
const MAX_LISTED: usize = 1000;

/// Counts shared by all components.
pub struct Shared {
    /// The number of compiled binaries kept, and the size of their code.
    pub binaries: (usize, u64),
    /// Hits and misses of the cache directory; `None` without one.
    pub cache: Option<CacheCounts>,
    /// Pending requests.
    pub outstanding: usize,
    /// Outcomes that arrived too late.
    pub late_replies: u64,
    /// Accepted messages that were never handled.
    pub dead_letters: u64,
    /// Events that the host missed.
    pub events_lost: u64,
    /// Audit records that the host missed.
    pub audit_lost: Lost,
    /// The size of the storage's file, if it has one.
    pub storage: Option<Footprint>,
}

/// Returns the text of an array, of which only one item is in memory at a time.
pub fn array(items: impl Iterator<Item = Value>) -> String {
    let mut text = String::from("[");
    for (at, item) in items.enumerate() {
        let comma = if at == 0 { "" } else { "," };
        // Writing to a String does not fail.
        let _ = write!(text, "{comma}{item}");
    }
    text.push(']');
    text
}

/// Returns handle, id, state, instances and version.
pub fn summary(component: &Component) -> Value {
    let (id, instances, version) = match component {
        Component::Awake(pool, _) => (pool.id(), pool.actors().len(), pool.version()),
        Component::Dormant(dormant) => {
            (&dormant.identity.id, 1, Arc::clone(&dormant.blueprint.version))
        }
    };
    json!({
        "handle": component.handle().0,
        "id": id.as_str(),
        "state": state(component).name(),
        "instances": instances,
        "version": version.number,
        "sha256": hexadecimal(&version.prepared.sha256),
    })
}

fn state(component: &Component) -> State {
    match component {
        Component::Awake(pool, _) => pool.state(),
        Component::Dormant(dormant) => dormant.past().state(),
    }
}

fn last_health(component: &Component) -> HealthStatus {
    match component {
        Component::Awake(pool, _) => pool.health(),
        Component::Dormant(dormant) => dormant.past().health(),
    }
}

/// Returns the states of a component's instances, and how they are supervised.
pub fn status(pool: &Pool) -> Value {
    let first = pool.actors().first();
    let instances = pool.actors().iter().enumerate();
    json!({
        "handle": pool.handle().0,
        "id": pool.id().as_str(),
        "state": pool.state().name(),
        "health": pool.health().name(),
        "supervision": first.supervisor().map(|it| supervision(it.supervision())),
        "group": group_name(pool).as_deref(),
        "canary": pool.canary().map(|it| canary(&it)),
        "instances": instances.map(|(at, actor)| instance(at, actor)).collect::<Value>(),
    })
}

/// Returns what an instance that was to end still does.
pub fn unfinished(actor: &Actor) -> Value {
    let mailbox = actor.mailbox();
    json!({
        "handle": mailbox.handle().0,
        "id": mailbox.owner().as_str(),
        "state": actor.status().state().name(),
        "depth": mailbox.depth().0,
    })
}

/// Returns whether the engine works, and what of it is not ready.
pub fn readiness(components: &[Component], live: bool) -> Value {
    let is_ready = |component: &&Component| {
        let state = state(component);
        let works = matches!(state, State::Running | State::Passive | State::Stopped);
        works && last_health(component) != HealthStatus::Unhealthy
    };
    let not_ready: Vec<_> = components.iter().filter(|it| !is_ready(it)).collect();
    let listed = not_ready.iter().take(MAX_LISTED).map(|component| {
        let id = match component {
            Component::Awake(pool, _) => pool.id(),
            Component::Dormant(dormant) => &dormant.identity.id,
        };
        json!({
            "handle": component.handle().0,
            "id": id.as_str(),
            "state": state(component).name(),
            "health": last_health(component).name(),
        })
    });
    json!({
        "live": live,
        "ready": live && not_ready.is_empty(),
        "components": components.len(),
        "not-ready": listed.collect::<Value>(),
    })
}

fn instance(number: usize, actor: &Actor) -> Value {
    let status = actor.status();
    let last_failure = status.with_last_failure(|failure| {
        json!({
            "code": failure.code(),
            "message": failure.text(),
            "time": {
                "seconds": failure.at().seconds(),
                "nanoseconds": failure.at().nanoseconds(),
            },
        })
    });
    json!({
        "instance": number,
        "state": status.state().name(),
        "health": status.health().name(),
        "version": status.version(),
        "restarts": status.counts().restarts,
        "restarts-in-window": actor.supervisor().map(|it| it.in_window(Instant::now())),
        "last-failure": last_failure,
    })
}

fn canary(canary: &Canary) -> Value {
    let (stable, own) = canary.tallies();
    let version = canary.version();
    json!({
        "version": version.number,
        "sha256": hexadecimal(&version.prepared.sha256),
        "share-percent": canary.terms().share,
        "messages": own.messages,
        "errors": own.errors,
        "stable": { "messages": stable.messages, "errors": stable.errors },
    })
}

fn supervision(supervision: &Supervision) -> Value {
    let Supervision { policy, max_restarts, window, backoff } = supervision;
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    json!({
        "restart": policy.name(),
        "max-restarts": max_restarts,
        "window-ms": millis(*window),
        "backoff": {
            "growth": backoff.growth.name(),
            "first-ms": millis(backoff.first),
            "max-ms": millis(backoff.longest),
            "jitter-percent": backoff.jitter,
            "quiet-ms": millis(backoff.quiet),
        },
    })
}

/// Returns a health and the component it belongs to.
pub fn health(pool: &Pool, health: HealthStatus) -> Value {
    json!({ "handle": pool.handle().0, "id": pool.id().as_str(), "health": health.name() })
}

/// Returns everything known about a component without asking it.
pub fn description(pool: &Pool) -> Value {
    let first = pool.actors().first();
    let (spec, source, options) = (first.spec(), first.source(), first.mailbox().options());
    let prepared = &source.version.prepared;
    let metadata = source.metadata().map(|metadata| {
        json!({
            "name": metadata.name,
            "version": metadata.version,
            "description": metadata.description,
            "author": metadata.author,
            "license": metadata.license,
            "supported-operations": metadata.supported_operations,
            "stateful": metadata.stateful,
        })
    });
    let guard = &spec.context.guard;
    let sums = Sums::of(pool);
    json!({
        "handle": pool.handle().0,
        "id": pool.id().as_str(),
        "instances": pool.actors().len(),
        "state": pool.state().name(),
        "health": pool.health().name(),
        "version": pool.version().number,
        "canary": pool.canary().map(|it| canary(&it)),
        "lifecycle": prepared.lifecycle.is_some(),
        "metadata": metadata,
        "limits": limits(&spec.limits),
        "quotas": quotas(guard.quotas()),
        "grants": guard.capabilities().all().iter().map(grant).collect::<Value>(),
        "mailbox": {
            "capacity": options.bounds.messages,
            "max-bytes": options.bounds.bytes,
            "when-full": options.when_full.name(),
            "depth": sums.depth,
            "bytes": sums.bytes,
            "waiting": sums.waiting,
        },
        "host-bytes": sums.host_bytes,
        "storage-namespace": spec.context.storage.namespace(),
        "codecs": options.codecs.names().collect::<Vec<_>>(),
        "messages": sums.messages(),
        "fuel": sums.counts.fuel,
        "time-ns": sums.counts.nanos,
        "memory-bytes": sums.memory,
        "restarts": sums.counts.restarts,
        "binary": {
            "blake3": prepared.hash.to_hex().as_str(),
            "sha256": hexadecimal(&prepared.sha256),
            "bytes": prepared.binary_bytes,
            "code-bytes": prepared.code_bytes,
            "signer": source.version.signer.as_ref().map(|key| hexadecimal(key.as_bytes())),
        },
    })
}

fn limits(limits: &Limits) -> Value {
    json!({
        "max-memory-bytes": limits.max_memory_bytes,
        "max-host-bytes": limits.max_host_bytes,
        "max-message-bytes": limits.max_message_bytes,
        "max-execution-time-ms": limits.max_execution_time_ms(),
        "max-fuel": limits.max_fuel,
        "max-instances": limits.max_instances,
        "max-table-elements": limits.max_table_elements,
    })
}

fn quotas(quotas: &Quotas) -> Value {
    json!({
        "messages-per-second": quotas.messages_per_second,
        "outstanding-requests": quotas.outstanding_requests,
        "storage-bytes": quotas.storage_bytes,
        "storage-keys": quotas.storage_keys,
        "log-bytes-per-second": quotas.log_bytes_per_second,
        "random-bytes-per-second": quotas.random_bytes_per_second,
        "host-functions-per-second": quotas.host_functions_per_second,
        "host-call-data-bytes": quotas.host_call_bytes,
        "wasi-resources": quotas.wasi_resources,
    })
}

fn grant(grant: &Grant) -> Value {
    json!({
        "action": grant.action.name(),
        "pattern": &*grant.text,
        "guest-path": grant.seen_at.as_deref(),
        "expires-at-ms": grant.expires,
    })
}

/// Returns the counts of all currently loaded components, together and one by one.
pub fn stats(pools: impl Iterator<Item = Arc<Pool>>, shared: &Shared) -> String {
    let (mut totals, mut count) = (Sums::default(), 0_u64);
    let each = array(pools.map(|pool| {
        let sums = Sums::of(&pool);
        let mut entry = sums.document();
        entry["handle"] = pool.handle().0.into();
        entry["id"] = pool.id().as_str().into();
        entry["instances"] = pool.actors().len().into();
        totals.add(&sums);
        count += 1;
        entry
    }));
    let mut document = totals.document();
    document["components"] = count.into();
    document["binaries"] = shared.binaries.0.into();
    document["code-bytes"] = shared.binaries.1.into();
    document["cache"] = shared.cache.map_or(
        Value::Null,
        |cache| json!({ "hits": cache.hits, "misses": cache.misses, "bytes": cache.bytes }),
    );
    document["requests"] =
        json!({ "outstanding": shared.outstanding, "late-replies": shared.late_replies });
    document["dead-letters"] = shared.dead_letters.into();
    document["events-lost"] = shared.events_lost.into();
    document["audit-lost"] =
        json!({ "allowed": shared.audit_lost.minor, "denied": shared.audit_lost.major });
    document["storage"] = shared.storage.map_or(
        Value::Null,
        |file| json!({ "live-bytes": file.live_bytes, "total-bytes": file.total_bytes }),
    );
    let mut text = document.to_string();
    // The parts of the array are not parsed again.
    text.pop();
    text.push_str(",\"per-component\":");
    text.push_str(&each);
    text.push('}');
    text
}

#[derive(Default)]
struct Sums {
    traffic: Traffic,
    counts: Counts,
    sent: u64,
    depth: usize,
    bytes: u64,
    /// Senders waiting for room. In a pool, each waits for all mailboxes.
    waiting: usize,
    memory: u64,
    /// Host memory held for the component.
    host_bytes: u64,
}

impl Sums {
    fn of(pool: &Pool) -> Self {
        let waiting = pool.mailboxes().iter().map(|mailbox| mailbox.waiting());
        let mut sums = Self { waiting: waiting.max().unwrap_or(0), ..Self::default() };
        for actor in pool.actors() {
            let (depth, bytes) = actor.mailbox().depth();
            sums.add(&Self {
                traffic: actor.mailbox().traffic(),
                counts: actor.status().counts(),
                sent: actor.spec().messenger.sent(),
                depth,
                bytes,
                waiting: 0,
                memory: actor.status().all_memory_bytes(),
                host_bytes: actor.mailbox().account().held(),
            });
        }
        sums
    }

    fn add(&mut self, other: &Self) {
        self.traffic.accepted += other.traffic.accepted;
        self.traffic.refused += other.traffic.refused;
        self.traffic.dropped += other.traffic.dropped;
        self.counts.handled += other.counts.handled;
        self.counts.failed += other.counts.failed;
        self.counts.restarts += other.counts.restarts;
        self.counts.fuel = self.counts.fuel.saturating_add(other.counts.fuel);
        self.counts.nanos += other.counts.nanos;
        self.sent += other.sent;
        self.depth += other.depth;
        self.bytes += other.bytes;
        self.waiting += other.waiting;
        self.memory += other.memory;
        self.host_bytes += other.host_bytes;
    }

    fn messages(&self) -> Value {
        json!({
            "accepted": self.traffic.accepted,
            "refused": self.traffic.refused,
            "dropped": self.traffic.dropped,
            "handled": self.counts.handled,
            "failed": self.counts.failed,
            "sent": self.sent,
        })
    }

    fn document(&self) -> Value {
        json!({
            "messages": self.messages(),
            "mailbox": { "depth": self.depth, "bytes": self.bytes, "waiting": self.waiting },
            "fuel": self.counts.fuel,
            "time-ns": self.counts.nanos,
            "memory-bytes": self.memory,
            "host-bytes": self.host_bytes,
            "restarts": self.counts.restarts,
        })
    }
}
