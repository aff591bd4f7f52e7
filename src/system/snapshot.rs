//! JSON snapshots of an engine and its components.

use serde_json::{Value, json};

use crate::component::actor::Actor;
use crate::core::limits::Limits;

/// Handle, id and state.
pub fn summary(actor: &Actor) -> Value {
    json!({
        "handle": actor.mailbox().handle().0,
        "id": actor.mailbox().owner().as_str(),
        "state": actor.status().state().name(),
    })
}

/// All that is known of a component without asking it.
pub fn description(actor: &Actor) -> Value {
    let (mailbox, status, blueprint) = (actor.mailbox(), actor.status(), actor.blueprint());
    let (handled, failed, restarts) = status.counts();
    let (accepted, refused) = mailbox.traffic();
    let metadata = status.metadata().map(|metadata| {
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
    json!({
        "handle": mailbox.handle().0,
        "id": mailbox.owner().as_str(),
        "state": status.state().name(),
        "health": status.health().name(),
        "lifecycle": blueprint.prepared.lifecycle.is_some(),
        "metadata": metadata,
        "limits": limits(&blueprint.limits),
        "mailbox": {
            "capacity": mailbox.bounds().messages,
            "max-bytes": mailbox.bounds().bytes,
            "depth": mailbox.depth(),
        },
        "messages": {
            "accepted": accepted, "refused": refused, "handled": handled, "failed": failed,
        },
        "memory-bytes": status.memory_bytes(),
        "restarts": restarts,
        "binary": {
            "blake3": blueprint.prepared.hash.to_hex().as_str(),
            "bytes": blueprint.prepared.binary_bytes,
        },
    })
}

fn limits(limits: &Limits) -> Value {
    json!({
        "max-memory-bytes": limits.max_memory_bytes,
        "max-execution-time-ms": limits.max_execution_time_ms(),
        "max-fuel": limits.max_fuel,
        "max-instances": limits.max_instances,
        "max-table-elements": limits.max_table_elements,
    })
}

/// Sums over all components that are loaded now.
pub fn totals(actors: &[std::sync::Arc<Actor>], compiled: usize) -> Value {
    let mut sums = [0_u64; 4];
    for actor in actors {
        let (accepted, refused) = actor.mailbox().traffic();
        let (handled, failed, _) = actor.status().counts();
        for (sum, count) in sums.iter_mut().zip([accepted, refused, handled, failed]) {
            *sum += count;
        }
    }
    let [accepted, refused, handled, failed] = sums;
    json!({
        "components": actors.len(),
        "binaries": compiled,
        "messages": {
            "accepted": accepted, "refused": refused, "handled": handled, "failed": failed,
        },
    })
}
