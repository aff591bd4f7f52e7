//! A component's bounded queue of mail, and the right to work it off.

use std::future::{Future, poll_fn};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use crossbeam_utils::CachePadded;
use tokio::sync::Notify;

use crate::core::account::{Account, MailBytes};
use crate::core::codec::CodecSet;
use crate::core::error::{CallError, Unstarted};
use crate::core::id::{ComponentHandle, ComponentId};
use crate::core::interrupts::Interrupts;
use crate::core::limits::{MailboxBound, MailboxBounds, WhenFull};
use crate::core::message::Message;
use crate::core::ports::DeadLetters;
use crate::core::waiting::WaitNode;
use crate::messaging::mail::{CALLBACK_BYTES, Mail, Refusal};
use crate::messaging::queue::{Place, Queue, Traffic};

/// After a call past the queue, for how many messages the receiver gives its right to run back
/// whenever it waits, so that the next call finds it.
const UNPARKED_AFTER_CALL: u8 = 64;

/// How a mailbox treats what comes in.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MailboxOptions {
    /// How much it holds.
    pub bounds: MailboxBounds,
    /// What happens beyond that.
    pub when_full: WhenFull,
    /// What self-describing payloads may be.
    pub codecs: CodecSet,
    /// The export for want of which its owner handles no messages. One whose sender waits for an
    /// outcome is accepted all the same, and has that as its outcome.
    pub missing_handler: Option<&'static str>,
}

/// Who works a mailbox off.
pub trait Receiver: Send + Sync {
    /// There is mail, and the right to run is granted to the task that awaits
    /// [`Mailbox::next`]. Called once: from then on that task is woken.
    fn start(self: Arc<Self>);
}

/// What [`Mailbox::try_enter`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// No mail and nobody running: the right to run is the caller's until [`Mailbox::leave`], for mail
    /// of this place.
    Entered(Place),
    /// Others are before the caller: it has to queue.
    Busy,
    /// Nothing is accepted any more.
    Closed,
}

/// A FIFO queue whose receiver runs on at most one thread at a time.
///
/// Invariant: mail that is queued while nobody holds the right to run does not exist; whoever
/// queues the first mail takes the right and grants it to the receiver's task.
pub struct Mailbox {
    handle: ComponentHandle,
    owner: Arc<ComponentId>,
    node: Arc<WaitNode>,
    options: MailboxOptions,
    shared: CachePadded<Shared>,
    /// Told when there is room again, if [`Queue::waited_for`].
    room: Notify,
    /// How many senders wait for that.
    waiting: AtomicUsize,
    receiver: OnceLock<Weak<dyn Receiver>>,
    /// Of the receiver's task, once that has begun.
    waker: OnceLock<Waker>,
    dead_letters: Arc<dyn DeadLetters>,
    /// What the host holds for the owner besides this mail.
    account: Arc<Account>,
    interrupts: Arc<Interrupts>,
}

/// What senders and the receiver write for every message, on as few cache lines as it fits.
struct Shared {
    queue: Mutex<Queue>,
    /// What `queue` holds, and one while somebody runs: a hint for who looks for the least busy.
    load: AtomicUsize,
}

// What is padded to.
const _: () = assert!(size_of::<Shared>() <= 128);

impl Mailbox {
    /// An empty mailbox for `owner`; whoever made it holds the right to run.
    pub fn new(
        handle: ComponentHandle,
        owner: Arc<ComponentId>,
        node: Arc<WaitNode>,
        options: MailboxOptions,
        dead_letters: Arc<dyn DeadLetters>,
        account: Arc<Account>,
    ) -> Arc<Self> {
        let mailbox = Arc::new(Self {
            handle,
            owner,
            node,
            options,
            shared: CachePadded::new(Shared {
                queue: Mutex::new(Queue::held_by_its_maker()),
                load: AtomicUsize::new(1),
            }),
            room: Notify::new(),
            waiting: AtomicUsize::new(0),
            receiver: OnceLock::new(),
            waker: OnceLock::new(),
            dead_letters,
            account,
            interrupts: Arc::default(),
        });
        let mail: Weak<Self> = Arc::downgrade(&mailbox);
        mailbox.account.connect(mail);
        mailbox
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

    /// By which handle it is reached, alone or with others.
    pub fn handle(&self) -> ComponentHandle {
        self.handle
    }

    /// For whom a sender that waits for room waits.
    pub fn node(&self) -> &Arc<WaitNode> {
        &self.node
    }

    /// Counts the interrupts of what is handled.
    pub fn interrupts(&self) -> &Arc<Interrupts> {
        &self.interrupts
    }

    /// How it treats what comes in.
    pub fn options(&self) -> &MailboxOptions {
        &self.options
    }

    /// Whether senders wait for room rather than being refused.
    pub fn blocks_senders(&self) -> bool {
        self.options.when_full == WhenFull::Block
    }

    /// What the host holds for the owner besides its mail.
    pub fn account(&self) -> &Arc<Account> {
        &self.account
    }

    /// How much mail waits, and how many bytes that takes.
    pub fn depth(&self) -> (usize, u64) {
        let queue = self.lock();
        (queue.len(), queue.bytes())
    }

    /// What is before a new message: the mail that waits, and the one that runs. May lag behind.
    pub fn load(&self) -> usize {
        self.shared.load.load(Ordering::Relaxed)
    }

    /// Whether nothing waits and nobody runs.
    pub fn is_idle(&self) -> bool {
        let queue = self.lock();
        queue.is_empty() && !queue.is_busy()
    }

    /// What has gone through since it was made.
    pub fn traffic(&self) -> Traffic {
        self.lock().traffic
    }

    /// Queues mail; on refusal it comes back.
    #[expect(clippy::result_large_err, reason = "refused mail goes back as it came")]
    pub fn deliver(&self, mail: Mail) -> Result<Place, (Refusal, Mail)> {
        let size = mail.size();
        let bounded = matches!(mail, Mail::Message(..));
        if let Err(refusal) = self.suits(&mail) {
            self.lock().traffic.refused += 1;
            return Err((refusal, mail));
        }
        let bounds = &self.options.bounds;
        let mut queue = self.lock();
        let mut evicted = Vec::new();
        let refusal = match &mail {
            Mail::Callback(message) if queue.draining || !queue.closed => {
                self.refuses_callback(&queue, message, size)
            }
            _ if queue.closed => Some(Refusal::Closed),
            Mail::Message(..) => {
                let mut full = queue.full(bounds, &self.account, size);
                if full.is_some() && self.options.when_full == WhenFull::DropOldest {
                    evicted = queue.make_room(bounds, &self.account, size);
                    full = queue.full(bounds, &self.account, size);
                }
                full.map(|bound| {
                    let nothing_goes = queue.held() == 0 && evicted.is_empty();
                    if nothing_goes { Refusal::NoRoom(bound) } else { Refusal::Full(bound) }
                })
            }
            _ => None,
        };
        let accepted = match refusal {
            None if queue.draining => Ok(queue.push_before_last(mail, size)),
            None => {
                let place = queue.push(mail, size);
                queue.traffic.accepted += u64::from(bounded);
                self.note_load(&queue);
                let wake = queue.grant();
                drop(queue);
                if wake {
                    self.wake();
                }
                Ok(place)
            }
            Some(refusal) => {
                // Who waits for room is not refused.
                let waits = matches!(refusal, Refusal::Full(_)) && self.blocks_senders();
                queue.traffic.refused += u64::from(bounded && !waits);
                drop(queue);
                Err((refusal, mail))
            }
        };
        if !evicted.is_empty() {
            self.bury(evicted, &CallError::Dropped { bounds: *bounds });
        }
        accepted
    }

    /// Whether the owner takes such mail at all, if there is room for it.
    pub fn suits(&self, mail: &Mail) -> Result<(), Refusal> {
        let Mail::Message(message, reply) = mail else { return Ok(()) };
        match self.options.missing_handler {
            Some(export) if reply.is_nobody() => Err(Refusal::NoHandler(export)),
            _ => self.suits_payload(&message.payload),
        }
    }

    fn suits_payload(&self, payload: &[u8]) -> Result<(), Refusal> {
        let (limit, bytes) = (self.options.bounds.max_message, payload.len() as u64);
        if bytes > limit {
            return Err(Refusal::TooLarge { limit, bytes });
        }
        self.options.codecs.check(payload).map_err(Refusal::Codec)
    }

    /// Why a callback is not taken as it is. Callbacks do not count against the capacity: they are
    /// bounded by the requests that were accepted, and an accepted request must be answered. So a small
    /// one is always taken; the account has held the room for it since the request was made.
    fn refuses_callback(&self, queue: &Queue, message: &Message, size: u64) -> Option<Refusal> {
        if size <= CALLBACK_BYTES {
            return None;
        }
        let (bounds, bytes) = (&self.options.bounds, message.payload.len() as u64);
        if bytes > bounds.max_message {
            return Some(Refusal::TooLarge { limit: bounds.max_message, bytes });
        }
        let held = self.account.held_besides_mail().saturating_add(queue.held());
        if held.saturating_add(size) > self.account.limit() {
            return Some(Refusal::NoRoom(MailboxBound::HostBytes(self.account.limit())));
        }
        let over = !queue.is_empty() && queue.bytes().saturating_add(size) > bounds.bytes;
        over.then_some(Refusal::Full(MailboxBound::Bytes(bounds.bytes)))
    }

    /// Counts a message whose sender did not wait for room any longer.
    pub fn count_refused(&self) {
        self.lock().traffic.refused += 1;
    }

    /// Says that the message under way is done but for its outcome: who gets that, and writes
    /// again, finds its receiver idle among others.
    pub fn nearly_done(&self) {
        let queue = self.lock();
        self.shared.load.store(queue.len(), Ordering::Relaxed);
    }

    /// Whether it has room for mail of that size, or will say when it may have.
    pub fn will_have_room(&self, size: u64) -> bool {
        let queue = self.lock();
        let has_room = || queue.full(&self.options.bounds, &self.account, size).is_none();
        !queue.closed && (queue.held() > 0 || has_room())
    }

    /// Waits until a mailbox that had no room for mail of that size may have some, or does not say any
    /// more when it has.
    pub async fn room(&self, size: u64) {
        // Made before the look, so that no news is missed.
        let room = self.room.notified();
        {
            let mut queue = self.lock();
            let full = queue.full(&self.options.bounds, &self.account, size);
            if queue.closed || full.is_none() || queue.held() == 0 {
                return;
            }
            queue.waited_for = true;
        }
        let _waiting = Counted::new(&self.waiting);
        room.await;
    }

    /// How many senders wait for room.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Takes the right to run past an empty queue, for a message that it counts as accepted.
    pub fn try_enter(&self, payload: &[u8]) -> Result<Entry, Refusal> {
        if let Err(refusal) = self.suits_payload(payload) {
            self.lock().traffic.refused += 1;
            return Err(refusal);
        }
        let mut queue = self.lock();
        if queue.closed {
            return Ok(Entry::Closed);
        }
        queue.unparked_for = UNPARKED_AFTER_CALL;
        if queue.running {
            return Ok(Entry::Busy);
        }
        let place = queue.run_at_once();
        self.interrupts.begin();
        queue.traffic.accepted += 1;
        self.note_load(&queue);
        Ok(Entry::Entered(place))
    }

    /// Gives the right to run back, or grants it to the receiver if mail came in meanwhile.
    pub fn leave(&self) {
        let mut queue = self.lock();
        queue.running = false;
        let room = queue.handled();
        let wake = !queue.is_empty() && queue.grant();
        self.note_load(&queue);
        drop(queue);
        if room {
            self.room.notify_waiters();
        }
        if wake {
            self.wake();
        }
    }

    /// The next mail, for the receiver's task, whose right to run lasts until there is none;
    /// `None` when there will be none any more.
    pub fn next(&self) -> impl Future<Output = Option<Mail>> + '_ {
        poll_fn(|cx| self.poll_next(cx))
    }

    fn poll_next(&self, cx: &Context<'_>) -> Poll<Option<Mail>> {
        // Set before the first right to run is given back: whoever grants the next one wakes this
        // task, and starts no other. A task's waker stays the same.
        self.waker.get_or_init(|| cx.waker().clone());
        let mut queue = self.lock();
        let mail = if queue.by_task { queue.pop_if(|_| true) } else { None };
        let Some(mail) = mail else {
            let mut room = false;
            if std::mem::take(&mut queue.by_task) {
                queue.running = false;
                room = queue.handled();
                queue.give_memory_back();
                self.note_load(&queue);
            }
            // A task may be polled for nothing: the last mail can wait while somebody else has the
            // right to run.
            let ended = queue.ended && queue.is_empty();
            drop(queue);
            if room {
                self.room.notify_waiters();
            }
            return if ended { Poll::Ready(None) } else { Poll::Pending };
        };
        self.taken(queue);
        Poll::Ready(Some(mail))
    }

    /// The next mail, for the receiver's task within its right to run, if `takes` says so; `None`:
    /// the task is to do as if there was none. Pending: it is woken for the next mail, and keeps
    /// the right until then.
    pub fn poll_kept(&self, takes: impl FnOnce(&Mail) -> bool) -> Poll<Option<Mail>> {
        let mut queue = self.lock();
        queue.unparked_for = queue.unparked_for.saturating_sub(1);
        match queue.pop_if(takes) {
            Some(mail) => {
                self.taken(queue);
                return Poll::Ready(Some(mail));
            }
            None if !queue.is_empty() => return Poll::Ready(None),
            None => {}
        }
        if queue.closed || queue.unparked_for > 0 {
            return Poll::Ready(None);
        }
        queue.parked = true;
        let room = queue.handled();
        queue.give_memory_back();
        self.note_load(&queue);
        drop(queue);
        if room {
            self.room.notify_waiters();
        }
        Poll::Pending
    }

    /// Mail was taken, to be handled.
    fn taken(&self, queue: MutexGuard<'_, Queue>) {
        self.interrupts.begin();
        self.mail_went(queue);
    }

    /// Less mail waits than before.
    fn mail_went(&self, mut queue: MutexGuard<'_, Queue>) {
        self.note_load(&queue);
        let room = queue.gives_turns(&self.options.bounds);
        drop(queue);
        if room {
            self.room.notify_waiters();
        }
    }

    /// Takes a message back whose sender's time is over, unless its turn has come; what it waited for.
    /// It becomes a dead letter, with the reason that `why` makes of that.
    pub fn give_up(
        &self,
        place: Place,
        why: impl FnOnce(Unstarted) -> CallError,
    ) -> Option<CallError> {
        let mut queue = self.lock();
        let (mail, behind) = queue.withdraw(place)?;
        self.mail_went(queue);
        let Mail::Message(message, reply) = mail else { return None };
        let reason = why(Unstarted { waited: message.accepted.age(), behind });
        reply.withdraw();
        self.dead_letters.take(&self.owner, message, &reason);
        Some(reason)
    }

    /// Interrupts the mail of that place, if it is being handled; says whether it is.
    pub fn interrupt(&self, place: Place) -> bool {
        let queue = self.lock();
        let handles = queue.handles(place);
        if handles {
            // Under the lock: the next mail begins after it.
            self.interrupts.interrupt();
        }
        handles
    }

    /// Accepts nothing more if nobody runs and nothing waits: true, and the right to run is the
    /// caller's for good.
    pub fn close_idle(&self) -> bool {
        let mut queue = self.lock();
        let idle = !queue.running && !queue.closed;
        if idle {
            queue.running = true;
            self.interrupts.begin();
            queue.closed = true;
            queue.ended = true;
        }
        drop(queue);
        if idle {
            self.room.notify_waiters();
            if let Some(task) = self.waker.get() {
                task.wake_by_ref();
            }
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
        queue.ended = true;
        let removed = if keep { Vec::new() } else { queue.take_all() };
        let size = last.size();
        queue.push(last, size);
        queue.draining = keep;
        self.note_load(&queue);
        let wake = queue.grant();
        drop(queue);
        self.room.notify_waiters();
        if wake {
            self.wake();
        }
        Some(removed)
    }

    /// Takes out all that waits, from a closed or open mailbox.
    pub fn drain(&self) -> Vec<Mail> {
        let mut queue = self.lock();
        queue.closed = true;
        let mail = queue.take_all();
        drop(queue);
        self.room.notify_waiters();
        mail
    }

    /// Answers mail that was taken out and will not be handled; messages become dead letters.
    pub fn bury(&self, mail: Vec<Mail>, reason: &CallError) {
        for mail in mail {
            match mail {
                Mail::Message(message, reply) => {
                    self.dead_letters.take(&self.owner, message, reason);
                    reply.answer(Err(reason.clone()));
                }
                Mail::Health(reply) | Mail::Shutdown(reply) => reply.answer(Err(reason.clone())),
                Mail::Callback(_) => {}
            }
        }
    }

    /// Makes a dead letter of a message that its receiver has no room for.
    pub fn lose(&self, message: &Message, reason: &CallError) {
        self.dead_letters.take(&self.owner, message.clone(), reason);
    }

    fn wake(&self) {
        if let Some(task) = self.waker.get() {
            task.wake_by_ref();
        } else if let Some(receiver) = self.receiver.get().and_then(Weak::upgrade) {
            // Without a receiver the engine is being freed: the mail goes with it, and each reply
            // answers for itself.
            receiver.start();
        }
    }

    /// Checks that nobody waits in vain; called when nobody has anything to do.
    #[cfg(test)]
    pub fn check_waiters(&self) {
        if self.waiting() > 0 {
            self.lock().check_waiters(&self.options.bounds, &self.account);
        }
    }

    /// Checks that what it knows of its mail is true, and within bounds.
    #[cfg(test)]
    pub fn check(&self) {
        self.lock().check(&self.options.bounds, &self.account);
    }

    fn note_load(&self, queue: &Queue) {
        self.shared.load.store(queue.len() + usize::from(queue.is_busy()), Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // No code under the lock can panic half-way through a change.
        self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MailBytes for Mailbox {
    fn mail_bytes(&self) -> u64 {
        self.lock().held()
    }
}

/// Counts one for as long as it lives.
struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messaging::reply::Reply;
    use std::pin::pin;

    struct Nowhere;

    impl DeadLetters for Nowhere {
        fn take(&self, _: &Arc<ComponentId>, _: Message, _: &CallError) {}
    }

    fn poll(mailbox: &Mailbox) -> Poll<Option<Mail>> {
        pin!(mailbox.next()).poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_task_that_is_polled_for_nothing_does_not_leave_the_last_mail_behind() {
        let owner = Arc::new(ComponentId::parse("a/b/c").unwrap());
        let options = MailboxOptions::default();
        let (node, dead) = (Arc::default(), Arc::new(Nowhere));
        let account = Account::new(1 << 20, Arc::default());
        let mailbox = Mailbox::new(ComponentHandle(1), owner, node, options, dead, account);
        mailbox.leave();
        assert!(poll(&mailbox).is_pending());
        assert!(matches!(mailbox.try_enter(&[]), Ok(Entry::Entered(_))));
        let removed = mailbox.close(Mail::Shutdown(Reply::nobody()), false);
        assert!(removed.is_some_and(|removed| removed.is_empty()));
        // A caller has the right to run; the last mail is not the task's yet, but will be.
        assert!(poll(&mailbox).is_pending());
        mailbox.leave();
        assert!(matches!(poll(&mailbox), Poll::Ready(Some(Mail::Shutdown(_)))));
        assert!(matches!(poll(&mailbox), Poll::Ready(None)));
    }
}
