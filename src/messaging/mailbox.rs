//! A component's bounded queue of mail, and the right to work it off.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use crate::core::id::{ComponentHandle, ComponentId};
use crate::core::limits::MailboxBounds;
use crate::core::message::Message;
use crate::messaging::reply::Reply;

/// One piece of mail.
pub enum Mail {
    /// For `handle-message`.
    Message(Message, Reply),
    /// For `handle-callback`: the outcome of a request of the receiver's own.
    Callback(Message),
    /// Asks for `health`; the reply is the status name.
    Health(Reply),
    /// Asks for `shutdown`; the last mail of a mailbox.
    Shutdown(Reply),
}

/// What a piece of mail takes besides its payload, roughly.
const MAIL_BYTES: u64 = 256;

impl Mail {
    fn size(&self) -> u64 {
        let payload = match self {
            Self::Message(message, _) | Self::Callback(message) => message.payload.len(),
            Self::Health(_) | Self::Shutdown(_) => 0,
        };
        payload as u64 + MAIL_BYTES
    }
}

/// Why mail was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// As many messages wait as may.
    Full,
    /// The receiver is going, or gone.
    Closed,
}

/// Who works a mailbox off.
pub trait Receiver: Send + Sync {
    /// There is mail, and the right to run is the receiver's: it takes mail with
    /// [`Mailbox::next`] until that returns `None`.
    fn schedule(self: Arc<Self>);
}

/// What [`Mailbox::try_enter`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// No mail and nobody running: the right to run is the caller's until [`Mailbox::leave`].
    Entered,
    /// Others are before the caller: it has to queue.
    Busy,
    /// Nothing is accepted any more.
    Closed,
}

/// A FIFO queue whose receiver runs on at most one thread at a time.
///
/// Invariant: mail that is queued while nobody holds the right to run does not exist; whoever
/// queues the first mail takes the right and hands it to the receiver.
pub struct Mailbox {
    handle: ComponentHandle,
    owner: Arc<ComponentId>,
    bounds: MailboxBounds,
    queue: Mutex<Queue>,
    receiver: OnceLock<Weak<dyn Receiver>>,
    accepted: AtomicU64,
    refused: AtomicU64,
}

struct Queue {
    mail: VecDeque<Mail>,
    /// How many of `mail` are messages, which alone count against the capacity.
    messages: usize,
    /// What `mail` takes, callbacks included.
    bytes: u64,
    /// Somebody holds the right to run.
    running: bool,
    closed: bool,
    /// The last mail waits behind others, before which the answers to the owner's own requests
    /// are still accepted.
    draining: bool,
}

impl Queue {
    fn is_full(&self, bounds: &MailboxBounds, size: u64) -> bool {
        self.messages >= bounds.messages || self.bytes.saturating_add(size) > bounds.bytes
    }

    fn take_all(&mut self) -> Vec<Mail> {
        self.messages = 0;
        self.bytes = 0;
        self.draining = false;
        self.mail.drain(..).collect()
    }
}

impl Mailbox {
    /// An empty mailbox for `owner`; whoever made it holds the right to run.
    pub fn new(
        handle: ComponentHandle,
        owner: Arc<ComponentId>,
        bounds: MailboxBounds,
    ) -> Arc<Self> {
        Arc::new(Self {
            handle,
            owner,
            bounds,
            queue: Mutex::new(Queue {
                mail: VecDeque::new(),
                messages: 0,
                bytes: 0,
                running: true,
                closed: false,
                draining: false,
            }),
            receiver: OnceLock::new(),
            accepted: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        })
    }

    /// Names the receiver, once, before any mail.
    pub fn connect(&self, receiver: Weak<dyn Receiver>) {
        let first = self.receiver.set(receiver).is_ok();
        debug_assert!(first, "a mailbox has one receiver");
    }

    /// Whose mailbox it is.
    pub fn owner(&self) -> &Arc<ComponentId> {
        &self.owner
    }

    /// Which of the components of that id.
    pub fn handle(&self) -> ComponentHandle {
        self.handle
    }

    /// How much it holds.
    pub fn bounds(&self) -> MailboxBounds {
        self.bounds
    }

    /// Whether what waits takes more bytes than messages may; callbacks can bring that about.
    pub fn is_over_bytes(&self) -> bool {
        self.lock().bytes > self.bounds.bytes
    }

    /// How much mail waits.
    pub fn depth(&self) -> usize {
        self.lock().mail.len()
    }

    /// What is before a new message: the mail that waits, and the one that runs.
    pub fn load(&self) -> usize {
        let queue = self.lock();
        queue.mail.len() + usize::from(queue.running)
    }

    /// Messages accepted and refused since it was made.
    pub fn traffic(&self) -> (u64, u64) {
        (self.accepted.load(Ordering::Relaxed), self.refused.load(Ordering::Relaxed))
    }

    /// Queues mail; on refusal it comes back.
    pub fn deliver(&self, mail: Mail) -> Result<(), (Refusal, Mail)> {
        let mut queue = self.lock();
        let size = mail.size();
        // Only messages count against the capacity: callbacks are bounded by the requests that
        // were accepted, and an accepted request must be answered.
        let bounded = matches!(mail, Mail::Message(..));
        if queue.draining && matches!(mail, Mail::Callback(_)) {
            queue.bytes += size;
            let last = queue.mail.len() - 1;
            queue.mail.insert(last, mail);
            return Ok(());
        }
        let refusal = if queue.closed {
            Some(Refusal::Closed)
        } else if bounded && queue.messages > 0 && queue.is_full(&self.bounds, size) {
            Some(Refusal::Full)
        } else {
            None
        };
        if let Some(refusal) = refusal {
            drop(queue);
            self.refused.fetch_add(1, Ordering::Relaxed);
            return Err((refusal, mail));
        }
        queue.mail.push_back(mail);
        queue.messages += usize::from(bounded);
        queue.bytes += size;
        let wake = !std::mem::replace(&mut queue.running, true);
        drop(queue);
        if bounded {
            self.accepted.fetch_add(1, Ordering::Relaxed);
        }
        if wake {
            self.schedule();
        }
        Ok(())
    }

    /// Takes the right to run past an empty queue.
    pub fn try_enter(&self) -> Entry {
        let mut queue = self.lock();
        if queue.closed {
            Entry::Closed
        } else if queue.running {
            Entry::Busy
        } else {
            queue.running = true;
            drop(queue);
            self.accepted.fetch_add(1, Ordering::Relaxed);
            Entry::Entered
        }
    }

    /// Gives the right to run back, or hands it to the receiver if mail came in meanwhile.
    pub fn leave(&self) {
        let mut queue = self.lock();
        if queue.mail.is_empty() {
            queue.running = false;
        } else {
            drop(queue);
            self.schedule();
        }
    }

    /// The next mail, for the holder of the right to run; `None` gives the right back.
    pub fn next(&self) -> Option<Mail> {
        let mut queue = self.lock();
        let mail = queue.mail.pop_front();
        match &mail {
            Some(mail) => {
                queue.messages -= usize::from(matches!(mail, Mail::Message(..)));
                queue.bytes -= mail.size();
                queue.draining &= !matches!(mail, Mail::Shutdown(_));
            }
            None => queue.running = false,
        }
        mail
    }

    /// Accepts nothing more if nobody runs and nothing waits: true, and the right to run is the
    /// caller's for good.
    pub fn close_idle(&self) -> bool {
        let mut queue = self.lock();
        let idle = !queue.running && !queue.closed;
        if idle {
            queue.running = true;
            queue.closed = true;
        }
        idle
    }

    /// Accepts nothing more, and queues `last` behind what waits.
    ///
    /// Returns `None`, and leaves `last` unqueued, if the mailbox was closed before. Without
    /// `keep` what waits is taken out and returned.
    pub fn close(&self, last: Mail, keep: bool) -> Option<Vec<Mail>> {
        let mut queue = self.lock();
        if std::mem::replace(&mut queue.closed, true) {
            return None;
        }
        let removed = if keep { Vec::new() } else { queue.take_all() };
        queue.bytes += last.size();
        queue.mail.push_back(last);
        queue.draining = keep;
        let wake = !std::mem::replace(&mut queue.running, true);
        drop(queue);
        if wake {
            self.schedule();
        }
        Some(removed)
    }

    /// Takes out all that waits, from a closed or open mailbox.
    pub fn drain(&self) -> Vec<Mail> {
        let mut queue = self.lock();
        queue.closed = true;
        queue.take_all()
    }

    fn schedule(&self) {
        // Without a receiver the engine is being freed: the mail goes with it, and each reply
        // answers for itself.
        if let Some(receiver) = self.receiver.get().and_then(Weak::upgrade) {
            receiver.schedule();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // No code under the lock can panic half-way through a change.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
