//! What happens in an engine, told to the host in the background and in order.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::json;

use crate::core::error::CallError;
use crate::core::id::ComponentId;
use crate::core::message::{Message, Timestamp};
use crate::core::ports::{DeadLetters, EventSink};
use crate::system::callbacks::Callbacks;

/// How many events wait for a host that is slow to take them; the rest is counted as lost.
const MAX_WAITING: usize = 10_000;

/// How many bytes of payloads wait with them.
const MAX_WAITING_BYTES: usize = 64 << 20;

/// One thing that happened.
enum Event {
    DeadLetter { target: Arc<ComponentId>, message: Message, reason: CallError, at: Timestamp },
    Lost(u64),
}

/// The events of one engine.
#[derive(Clone)]
pub struct Events {
    shared: Arc<Shared>,
}

struct Shared {
    host: Arc<ComponentId>,
    sink: Option<Arc<dyn EventSink>>,
    callbacks: Callbacks,
    queue: Mutex<Queue>,
    dead_letters: AtomicU64,
    lost: AtomicU64,
}

#[derive(Default)]
struct Queue {
    events: VecDeque<Event>,
    bytes: usize,
    /// Events that were not kept since the host was last told of some.
    lost: u64,
    /// Somebody tells the host.
    telling: bool,
}

impl Events {
    /// Tells `sink`, if there is one, through `callbacks`. `host`: who messages without a sender
    /// are from.
    pub fn new(
        host: Arc<ComponentId>,
        sink: Option<Arc<dyn EventSink>>,
        callbacks: Callbacks,
    ) -> Self {
        let shared = Shared {
            host,
            sink,
            callbacks,
            queue: Mutex::default(),
            dead_letters: AtomicU64::new(0),
            lost: AtomicU64::new(0),
        };
        Self { shared: Arc::new(shared) }
    }

    /// How many dead letters there were.
    pub fn dead_letters(&self) -> u64 {
        self.shared.dead_letters.load(Ordering::Relaxed)
    }

    /// How many events the host was not told of, because it was too slow.
    pub fn lost(&self) -> u64 {
        self.shared.lost.load(Ordering::Relaxed)
    }
}

impl DeadLetters for Events {
    fn take(&self, target: &Arc<ComponentId>, message: Message, reason: &CallError) {
        self.shared.dead_letters.fetch_add(1, Ordering::Relaxed);
        if self.shared.sink.is_some() {
            let (target, reason, at) = (Arc::clone(target), reason.clone(), Timestamp::now());
            Shared::tell(&self.shared, Event::DeadLetter { target, message, reason, at });
        }
    }
}

impl Shared {
    fn tell(shared: &Arc<Self>, event: Event) {
        let mut queue = shared.lock();
        let bytes = event.payload().len();
        if queue.events.len() >= MAX_WAITING || queue.bytes + bytes > MAX_WAITING_BYTES {
            queue.lost += 1;
            shared.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        queue.bytes += bytes;
        queue.events.push_back(event);
        if !std::mem::replace(&mut queue.telling, true) {
            let shared = Arc::clone(shared);
            shared.callbacks.clone().leave(move || shared.tell_host());
        }
    }

    fn tell_host(&self) {
        let Some(sink) = &self.sink else { return };
        while let Some(event) = self.next() {
            sink.event(event.kind(), &event.document(&self.host), event.payload());
        }
    }

    fn next(&self) -> Option<Event> {
        let mut queue = self.lock();
        match queue.events.pop_front() {
            Some(event) => {
                queue.bytes -= event.payload().len();
                Some(event)
            }
            None if queue.lost > 0 => Some(Event::Lost(std::mem::take(&mut queue.lost))),
            None => {
                queue.telling = false;
                None
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Event {
    fn kind(&self) -> &'static str {
        match self {
            Self::DeadLetter { .. } => "dead-letter",
            Self::Lost(_) => "events-lost",
        }
    }

    fn payload(&self) -> &[u8] {
        match self {
            Self::DeadLetter { message, .. } => &message.payload,
            Self::Lost(_) => &[],
        }
    }

    fn document(&self, host: &ComponentId) -> String {
        let kind = self.kind();
        match self {
            Self::DeadLetter { target, message, reason, at } => json!({
                "event": kind,
                "time": { "seconds": at.seconds, "nanoseconds": at.nanoseconds },
                "component": target.as_str(),
                "source": message.sender(host).as_str(),
                "correlation": message.correlation.map(|id| id.to_string()),
                "content-type": message.content_type.as_deref(),
                "payload-bytes": message.payload.len(),
                "code": reason.code(),
                "reason": reason.to_string(),
            }),
            Self::Lost(count) => json!({ "event": kind, "count": count }),
        }
        .to_string()
    }
}
