//! Events of an engine, delivered to the host in the background and in order.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::json;

use crate::core::bounds::{MAX_REPEATED_BYTES, bounded};
use crate::core::error::CallError;
use crate::core::id::ComponentId;
use crate::core::message::{Message, Timestamp};
use crate::core::ports::{
    CanaryChange, DeadLetters, EventSink, GroupChange, HealthChange, Identity, SoFar, StateChange,
};
use crate::system::callbacks::Callbacks;
use crate::system::notifier::{Bounds, Item, Notice, Notifier};

/// The most events, and bytes of their payloads, that queue for a slow host.
const BOUNDS: Bounds = Bounds { items: 10_000, bytes: 64 << 20 };

/// The approximate size of a dead letter without its texts and payload.
const LETTER_BYTES: usize = 256;

/// The approximate size of a state change.
const STATE_BYTES: usize = 128;

/// One event.
enum Event {
    DeadLetter {
        target: Arc<ComponentId>,
        message: Message,
        code: &'static str,
        reason: String,
        at: Timestamp,
    },
    State {
        component: Identity,
        instance: usize,
        change: StateChange,
        so_far: SoFar,
        at: Timestamp,
    },
    Health {
        component: Identity,
        instance: usize,
        change: HealthChange,
        at: Timestamp,
    },
    Group {
        change: GroupChange,
        component: Option<Identity>,
        at: Timestamp,
    },
    Canary {
        component: Identity,
        change: CanaryChange,
        at: Timestamp,
    },
    Lost(u64),
}

/// The events of one engine.
#[derive(Clone)]
pub struct Events {
    /// `None` if the host takes no events.
    notifier: Option<Notifier<Event>>,
    dead_letters: Arc<AtomicU64>,
}

impl Events {
    /// Delivers events to `sink`, if there is one, through `callbacks`. `host` is the sender of
    /// messages without one.
    pub fn new(
        host: Arc<ComponentId>,
        sink: Option<Arc<dyn EventSink>>,
        callbacks: Callbacks,
    ) -> Self {
        let notifier = sink.map(|sink| {
            Notifier::new(BOUNDS, callbacks, move |told| {
                let event = match told {
                    Notice::Item(event) => event,
                    Notice::Lost(lost) => Event::Lost(lost.major),
                };
                sink.event(event.kind(), &event.document(&host), event.payload());
            })
        });
        Self { notifier, dead_letters: Arc::default() }
    }

    /// Queues a change of a component's state.
    pub fn state(&self, component: &Identity, instance: usize, change: StateChange, so_far: SoFar) {
        if let Some(notifier) = &self.notifier {
            let (component, at) = (component.clone(), Timestamp::now());
            notifier.push(Event::State { component, instance, change, so_far, at });
        }
    }

    /// Queues a change of the health that a component reports.
    pub fn health(&self, component: &Identity, instance: usize, change: HealthChange) {
        if let Some(notifier) = &self.notifier {
            let (component, at) = (component.clone(), Timestamp::now());
            notifier.push(Event::Health { component, instance, change, at });
        }
    }

    /// Queues a change of a group's state.
    pub fn group(&self, change: GroupChange, component: Option<&Identity>) {
        if let Some(notifier) = &self.notifier {
            let (component, at) = (component.cloned(), Timestamp::now());
            notifier.push(Event::Group { change, component, at });
        }
    }

    /// Queues the begin or the end of a canary.
    pub fn canary(&self, component: &Identity, change: CanaryChange) {
        if let Some(notifier) = &self.notifier {
            let (component, at) = (component.clone(), Timestamp::now());
            notifier.push(Event::Canary { component, change, at });
        }
    }

    /// Returns the number of dead letters.
    pub fn dead_letters(&self) -> u64 {
        self.dead_letters.load(Ordering::Relaxed)
    }

    /// Returns the number of events dropped because the host was too slow.
    pub fn lost(&self) -> u64 {
        self.notifier.as_ref().map_or(0, |notifier| notifier.all_lost().major)
    }
}

impl DeadLetters for Events {
    fn take(&self, target: &Arc<ComponentId>, message: Message, reason: &CallError) {
        self.dead_letters.fetch_add(1, Ordering::Relaxed);
        if let Some(notifier) = &self.notifier {
            let (target, at, code) = (Arc::clone(target), Timestamp::now(), reason.code());
            let reason = bounded(reason, MAX_REPEATED_BYTES);
            notifier.push(Event::DeadLetter { target, message, code, reason, at });
        }
    }
}

impl Item for Event {
    fn bytes(&self) -> usize {
        match self {
            Self::DeadLetter { message, reason, .. } => {
                let content_type = message.content_type.as_ref().map_or(0, |text| text.len());
                LETTER_BYTES + message.payload.len() + content_type + reason.len()
            }
            Self::State { .. } | Self::Health { .. } | Self::Group { .. } | Self::Canary { .. } => {
                STATE_BYTES
            }
            Self::Lost(_) => 0,
        }
    }

    fn is_minor(&self) -> bool {
        false
    }

    fn owner(&self) -> usize {
        match self {
            Self::DeadLetter { target, .. } => Arc::as_ptr(target).addr(),
            Self::Group { change, .. } => Arc::as_ptr(&change.name).addr(),
            Self::State { component, .. }
            | Self::Health { component, .. }
            | Self::Canary { component, .. } => Arc::as_ptr(&component.id).addr(),
            Self::Lost(_) => 0,
        }
    }
}

impl Event {
    fn kind(&self) -> &'static str {
        match self {
            Self::DeadLetter { .. } => "dead-letter",
            Self::State { .. } => "state",
            Self::Health { .. } => "health",
            Self::Group { .. } => "group",
            Self::Canary { .. } => "canary",
            Self::Lost(_) => "events-lost",
        }
    }

    fn payload(&self) -> &[u8] {
        match self {
            Self::DeadLetter { message, .. } => &message.payload,
            Self::State { .. }
            | Self::Health { .. }
            | Self::Group { .. }
            | Self::Canary { .. }
            | Self::Lost(_) => &[],
        }
    }

    fn document(&self, host: &ComponentId) -> String {
        let kind = self.kind();
        match self {
            Self::DeadLetter { target, message, code, reason, at } => json!({
                "event": kind,
                "time": { "seconds": at.seconds(), "nanoseconds": at.nanoseconds() },
                "component": target.as_str(),
                "source": message.sender(host).as_str(),
                "correlation": message.correlation.map(|id| id.to_string()),
                "content-type": message.content_type.as_deref(),
                "payload-bytes": message.payload.len(),
                "code": code,
                "reason": reason,
            }),
            Self::State { component, instance, change, so_far, at } => json!({
                "event": kind,
                "time": { "seconds": at.seconds(), "nanoseconds": at.nanoseconds() },
                "component": component.id.as_str(),
                "handle": component.handle.0,
                "instance": instance,
                "from": change.from,
                "to": change.to,
                "cause": change.cause,
                "code": change.code,
                "version": so_far.version,
                "restarts": so_far.restarts,
            }),
            Self::Health { component, instance, change, at } => json!({
                "event": kind,
                "time": { "seconds": at.seconds(), "nanoseconds": at.nanoseconds() },
                "component": component.id.as_str(),
                "handle": component.handle.0,
                "instance": instance,
                "from": change.from,
                "to": change.to,
            }),
            Self::Group { change, component, at } => json!({
                "event": kind,
                "time": { "seconds": at.seconds(), "nanoseconds": at.nanoseconds() },
                "group": &*change.name,
                "handle": change.handle.0,
                "from": change.from,
                "to": change.to,
                "component": component.as_ref().map(|it| it.id.as_str()),
                "restarts": change.restarts,
            }),
            Self::Canary { component, change, at } => json!({
                "event": kind,
                "time": { "seconds": at.seconds(), "nanoseconds": at.nanoseconds() },
                "component": component.id.as_str(),
                "handle": component.handle.0,
                "change": change.change,
                "reason": change.reason,
                "version": change.version,
                "messages": change.canary.messages,
                "errors": change.canary.errors,
                "stable": {
                    "version": change.before,
                    "messages": change.stable.messages,
                    "errors": change.stable.errors,
                },
            }),
            Self::Lost(count) => json!({ "event": kind, "count": count }),
        }
        .to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_of_an_event_are_all_the_memory_that_it_holds() {
        let letter = |content_type: Option<&str>, reason: &str| {
            let message = Message {
                content_type: content_type.map(Into::into),
                ..Message::new(None, b"payload".to_vec().into())
            };
            let target = Arc::new(ComponentId::new("a", "b", "c").unwrap());
            let (at, reason) = (Timestamp::recent(), reason.to_owned());
            Event::DeadLetter { target, message, code: "timeout", reason, at }
        };
        let bare = letter(None, "").bytes();
        assert!(bare > 7);
        assert_eq!(letter(Some("text/plain"), "").bytes(), bare + 10);
        assert_eq!(letter(None, "because").bytes(), bare + 7);
        assert_ne!(letter(None, "").owner(), 0);
    }
}
