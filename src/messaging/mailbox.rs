//! A component's bounded queue of mail, and the right to run its handler.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use crossbeam_utils::CachePadded;

use crate::core::account::{Account, MailBytes};
use crate::core::codec::CodecSet;
use crate::core::error::{CallError, Unstarted};
use crate::core::id::{ComponentHandle, ComponentId};
use crate::core::interrupts::Interrupts;
use crate::core::limits::{MailboxBound, MailboxBounds, WhenFull};
use crate::core::message::Message;
use crate::core::ports::DeadLetters;
use crate::core::sync::atomic::{AtomicUsize, Ordering};
use crate::core::sync::{Mutex, MutexGuard, Notify, OnceLock};
use crate::core::wait_graph::WaitNode;
use crate::messaging::mail::{CALLBACK_BYTES, Mail, Refusal};
use crate::messaging::queue::{Intake, Place, Queue, Runner, Traffic};

/// For this many messages after a direct call, the receiver gives up its right to run whenever the
/// queue is empty, so that the next direct call finds the mailbox idle.
const UNPARKED_AFTER_CALL: u8 = 64;

/// The configuration of a mailbox.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MailboxOptions {
    /// The bounds.
    pub bounds: MailboxBounds,
    /// The policy when full.
    pub when_full: WhenFull,
    /// The accepted codecs of self-describing payloads.
    pub codecs: CodecSet,
    /// The export that the owner lacks, without which it handles no messages. Mail from a sender
    /// that waits for an outcome is accepted all the same: the outcome is the missing export.
    pub missing_handler: Option<&'static str>,
}

/// The handler of a mailbox's mail.
pub trait MailHandler: Send + Sync {
    /// Starts the task that awaits [`Mailbox::next`]: there is mail, and the task holds the right
    /// to run. Called once; later mail wakes the task.
    fn start(self: Arc<Self>);
}

/// The result of an attempt to run a handler at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acquire<T = Place> {
    /// A mailbox was idle. The caller holds the right to run until [`Mailbox::release`].
    Acquired(T),
    /// Others are ahead; the caller has to queue its mail.
    Busy,
    /// No mailbox is open; the refusal of queued mail says why.
    Closed,
}

/// A FIFO queue whose receiver runs on at most one thread at a time.
///
/// Invariant: while mail is queued, someone holds the right to run. The sender of the first mail
/// takes the right and grants it to the receiver's task.
pub struct Mailbox {
    handle: ComponentHandle,
    owner: Arc<ComponentId>,
    node: Arc<WaitNode>,
    options: MailboxOptions,
    shared: CachePadded<Shared>,
    /// Notified when there is room again, if [`Queue::waited_for`].
    room: Notify,
    /// The number of senders waiting for room.
    waiting: AtomicUsize,
    receiver: OnceLock<Weak<dyn MailHandler>>,
    /// The waker of the receiver's task, once the task runs.
    waker: OnceLock<Waker>,
    dead_letters: Arc<dyn DeadLetters>,
    /// The host memory held for the owner, this mail excluded.
    account: Arc<Account>,
    interrupts: Arc<Interrupts>,
}

/// The fields written for every message, on as few cache lines as possible.
struct Shared {
    queue: Mutex<Queue>,
    /// The length of `queue`, plus one while the handler runs: a hint for finding the least busy
    /// mailbox.
    load: AtomicUsize,
}

// The size to which `Shared` is padded. Loom's lock is larger.
#[cfg(test)]
const _: () = assert!(size_of::<Shared>() <= 128);

impl Mailbox {
    /// Creates an empty mailbox for `owner`. Its creator holds the right to run.
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

    /// Connects the receiver. Called once, before any mail.
    pub fn connect(&self, receiver: Weak<dyn MailHandler>) {
        let first = self.receiver.set(receiver).is_ok();
        debug_assert!(first, "a mailbox has one receiver");
    }

    /// Returns the id of the owner.
    pub fn owner(&self) -> &Arc<ComponentId> {
        &self.owner
    }

    /// Returns the handle of the owner, possibly shared with other mailboxes.
    pub fn handle(&self) -> ComponentHandle {
        self.handle
    }

    /// Returns the owner's node in the wait-for graph.
    pub fn node(&self) -> &Arc<WaitNode> {
        &self.node
    }

    /// Returns the interrupts of the message in progress.
    pub fn interrupts(&self) -> &Arc<Interrupts> {
        &self.interrupts
    }

    /// Returns the configuration.
    pub fn options(&self) -> &MailboxOptions {
        &self.options
    }

    /// Returns whether senders to a full mailbox wait instead of being refused.
    pub fn blocks_senders(&self) -> bool {
        self.options.when_full == WhenFull::Block
    }

    /// Returns the account of the owner.
    pub fn account(&self) -> &Arc<Account> {
        &self.account
    }

    /// Returns the number of waiting messages and their bytes.
    pub fn depth(&self) -> (usize, u64) {
        let queue = self.lock();
        (queue.len(), queue.bytes())
    }

    /// Returns the number of messages ahead of a new one, the message in progress included. May lag
    /// behind.
    pub fn load(&self) -> usize {
        self.shared.load.load(Ordering::Relaxed)
    }

    /// Returns whether the queue is empty and nothing runs.
    pub fn is_idle(&self) -> bool {
        let queue = self.lock();
        queue.is_empty() && !queue.is_busy()
    }

    /// Returns the counts since creation.
    pub fn traffic(&self) -> Traffic {
        self.lock().traffic
    }

    /// Queues mail; returns it if refused.
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
            Mail::Callback(message) if queue.intake.takes_outcomes() => {
                self.refuses_callback(&queue, message, size)
            }
            _ if queue.intake != Intake::Open => queue.intake.refusal(),
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
                // A sender that waits for room was not refused.
                let waits = matches!(refusal, Refusal::Full(_)) && self.blocks_senders();
                queue.traffic.refused += u64::from(bounded && !waits);
                drop(queue);
                Err((refusal, mail))
            }
        };
        if !evicted.is_empty() {
            self.dead_letter(evicted, &CallError::Dropped { bounds: *bounds });
        }
        accepted
    }

    /// Checks whether the owner accepts such mail, given room.
    pub fn suits(&self, mail: &Mail) -> Result<(), Refusal> {
        let Mail::Message(message, reply) = mail else { return Ok(()) };
        match self.options.missing_handler {
            Some(export) if reply.is_nobody() => Err(Refusal::NoHandler(export)),
            _ => self.suits_payload(&message.payload, message.invocation.is_some()),
        }
    }

    fn suits_payload(&self, payload: &[u8], is_invocation: bool) -> Result<(), Refusal> {
        let (limit, bytes) = (self.options.bounds.max_message, payload.len() as u64);
        if bytes > limit {
            return Err(Refusal::TooLarge { limit, bytes });
        }
        if is_invocation {
            // Its payload is JSON, whatever its first byte would mean as a multicodec.
            return Ok(());
        }
        self.options.codecs.check(payload).map_err(Refusal::Codec)
    }

    /// Returns the reason to refuse a callback in full. Callbacks do not count against the
    /// capacity: they are bounded by the accepted requests, each of which must get an outcome. A
    /// small callback is always accepted: its room was charged with the request.
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

    /// Counts a message whose sender gave up waiting for room.
    pub fn count_refused(&self) {
        self.lock().traffic.refused += 1;
    }

    /// Lowers the load before the outcome is delivered: a caller that gets its reply and sends
    /// again then finds this receiver idle.
    pub fn nearly_done(&self) {
        let queue = self.lock();
        self.shared.load.store(queue.len(), Ordering::Relaxed);
    }

    /// Returns whether there is room for mail of this size, or will be a notification when there
    /// may be.
    pub fn will_have_room(&self, size: u64) -> bool {
        let queue = self.lock();
        let has_room = || queue.full(&self.options.bounds, &self.account, size).is_none();
        queue.intake == Intake::Open && (queue.held() > 0 || has_room())
    }

    /// Waits until a full mailbox may have room for mail of this size, or can no longer notify.
    pub async fn room(&self, size: u64) {
        // Created before the check, so that no notification is missed.
        let room = self.room.notified();
        {
            let mut queue = self.lock();
            let full = queue.full(&self.options.bounds, &self.account, size);
            if queue.intake != Intake::Open || full.is_none() || queue.held() == 0 {
                return;
            }
            queue.waited_for = true;
        }
        let _waiting = Counted::new(&self.waiting);
        room.await;
    }

    /// Returns the number of senders waiting for room.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Takes the right to run if the mailbox is idle, bypassing the queue, and counts the message
    /// as accepted. Returns the place of the message.
    pub fn try_acquire(&self, payload: &[u8], is_invocation: bool) -> Result<Acquire, Refusal> {
        if let Err(refusal) = self.suits_payload(payload, is_invocation) {
            self.lock().traffic.refused += 1;
            return Err(refusal);
        }
        let mut queue = self.lock();
        if queue.intake != Intake::Open {
            return Ok(Acquire::Closed);
        }
        queue.unparked_for = UNPARKED_AFTER_CALL;
        if queue.runner != Runner::Idle {
            return Ok(Acquire::Busy);
        }
        let place = queue.run_at_once();
        self.interrupts.begin();
        queue.traffic.accepted += 1;
        self.note_load(&queue);
        Ok(Acquire::Acquired(place))
    }

    /// Takes the right to run of an idle, open mailbox for work that is not mail; returns whether it
    /// was idle.
    pub fn acquire_idle(&self) -> bool {
        let mut queue = self.lock();
        let is_idle = queue.intake == Intake::Open && queue.runner == Runner::Idle;
        if is_idle {
            queue.run_at_once();
            self.interrupts.begin();
            self.note_load(&queue);
        }
        is_idle
    }

    /// Gives up the right to run, or grants it to the receiver's task if mail arrived meanwhile.
    pub fn release(&self) {
        let mut queue = self.lock();
        queue.runner = Runner::Idle;
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

    /// Returns the next mail, for the receiver's task. The task holds the right to run until the
    /// queue is empty. Returns `None` when no more mail will come.
    pub fn next(&self) -> impl Future<Output = Option<Mail>> + '_ {
        poll_fn(|cx| self.poll_next(cx))
    }

    fn poll_next(&self, cx: &Context<'_>) -> Poll<Option<Mail>> {
        // Set before the task first gives up the right to run: the next grant must wake this task,
        // not start another one. A task's waker never changes.
        self.waker.get_or_init(|| cx.waker().clone());
        let mut queue = self.lock();
        let mail = if queue.runner.is_task() { queue.pop_if(|_| true) } else { None };
        let Some(mail) = mail else {
            let mut room = false;
            if queue.runner.is_task() {
                queue.runner = Runner::Idle;
                room = queue.handled();
                queue.give_memory_back();
                self.note_load(&queue);
            }
            // A spurious poll is possible: the last mail may wait while another thread holds the
            // right to run.
            let ended = queue.intake == Intake::Closed && queue.is_empty();
            drop(queue);
            if room {
                self.room.notify_waiters();
            }
            return if ended { Poll::Ready(None) } else { Poll::Pending };
        };
        self.taken(queue);
        Poll::Ready(Some(mail))
    }

    /// Returns the next mail if `takes` accepts it, for the receiver's task within its right to
    /// run. Returns `None` if the task should give up its right. While pending, the task keeps the
    /// right and is woken for the next mail.
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
        if queue.intake != Intake::Open || queue.unparked_for > 0 {
            return Poll::Ready(None);
        }
        self.park(queue);
        Poll::Pending
    }

    /// Returns the next mail, for the receiver's task within its right to run, which it keeps while
    /// no mail waits: no caller handles a message itself. Returns `None` if no mail waits and the
    /// mailbox is not open.
    pub fn next_kept(&self) -> impl Future<Output = Option<Mail>> + '_ {
        poll_fn(|_| {
            let mut queue = self.lock();
            match queue.pop_if(|_| true) {
                Some(mail) => {
                    self.taken(queue);
                    Poll::Ready(Some(mail))
                }
                None if queue.intake != Intake::Open => Poll::Ready(None),
                None => {
                    self.park(queue);
                    Poll::Pending
                }
            }
        })
    }

    /// Lets the receiver's task wait for mail within its right to run.
    fn park(&self, mut queue: MutexGuard<'_, Queue>) {
        queue.runner = Runner::Parked;
        let room = queue.handled();
        queue.give_memory_back();
        self.note_load(&queue);
        drop(queue);
        if room {
            self.room.notify_waiters();
        }
    }

    /// Notes that mail was taken to be handled.
    fn taken(&self, queue: MutexGuard<'_, Queue>) {
        self.interrupts.begin();
        self.mail_went(queue);
    }

    /// Notes that less mail waits, and wakes blocked senders when it is their turn.
    fn mail_went(&self, mut queue: MutexGuard<'_, Queue>) {
        self.note_load(&queue);
        let room = queue.gives_turns(&self.options.bounds);
        drop(queue);
        if room {
            self.room.notify_waiters();
        }
    }

    /// Withdraws a message that has not started, because its sender's time is up. The message
    /// becomes a dead letter; `why` makes the reason from the message's wait.
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

    /// Interrupts the mail at this place if it is in progress; returns whether it is.
    pub fn interrupt(&self, place: Place) -> bool {
        let queue = self.lock();
        let handles = queue.handles(place);
        if handles {
            // Under the lock, so that the next mail cannot be hit.
            self.interrupts.interrupt();
        }
        handles
    }

    /// Interrupts the mail in progress, unless it is that of this place; returns whether there is
    /// such mail.
    pub fn interrupt_other(&self, place: Place) -> bool {
        let queue = self.lock();
        let handles = queue.handles_other(place);
        if handles {
            self.interrupts.interrupt();
        }
        handles
    }

    /// Closes the mailbox if it is idle and returns true; the caller then holds the right to run
    /// for good.
    pub fn close_idle(&self) -> bool {
        let mut queue = self.lock();
        let idle = queue.runner == Runner::Idle && !queue.intake.is_final();
        if idle {
            queue.runner = Runner::OnCaller;
            self.interrupts.begin();
            queue.intake = Intake::Closed;
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

    /// Goes on with the counts, and the intake, of a mailbox that was closed by
    /// [`Mailbox::close_unused`]. Called before any mail.
    pub fn go_on(&self, traffic: Traffic, intake: Intake) {
        let mut queue = self.lock();
        queue.traffic = traffic;
        queue.intake = intake;
    }

    /// Returns whether the receiver's task has begun.
    pub fn is_attended(&self) -> bool {
        self.waker.get().is_some()
    }

    /// Closes the mailbox for good if no mail waits and its intake is `intake`; returns whether it
    /// did. `within` tells that the receiver's task calls; otherwise the mailbox must be idle.
    pub fn close_unused(&self, within: bool, intake: Intake) -> bool {
        let mut queue = self.lock();
        let right = if within { Runner::OnWorker } else { Runner::Idle };
        if queue.runner != right || !queue.is_empty() || queue.intake != intake {
            return false;
        }
        queue.intake = Intake::Closed;
        drop(queue);
        if let Some(task) = self.waker.get() {
            task.wake_by_ref();
        }
        true
    }

    /// Closes the mailbox for good and queues `last` behind the waiting mail.
    ///
    /// Returns `None`, without queueing `last`, if the mailbox was closed before. Unless `keep` is
    /// set, the waiting mail is removed and returned.
    pub fn close(&self, last: Mail, keep: bool) -> Option<Vec<Mail>> {
        let mut queue = self.lock();
        if queue.intake.is_final() {
            return None;
        }
        queue.intake = if keep { Intake::Closing } else { Intake::Closed };
        let removed = if keep { Vec::new() } else { queue.take_all() };
        self.push_control(queue, last);
        Some(removed)
    }

    /// Closes an open mailbox until it is [started](Mailbox::start), and queues `stop` behind the
    /// waiting mail. Returns `stop` if the mailbox is not open.
    #[expect(clippy::result_large_err, reason = "refused mail goes back as it came")]
    pub fn stop(&self, stop: Mail) -> Result<Place, Mail> {
        let mut queue = self.lock();
        if queue.intake != Intake::Open {
            return Err(stop);
        }
        queue.intake = Intake::Stopping;
        Ok(self.push_control(queue, stop))
    }

    /// Lets a stop under way wait only for the mail in progress: removes and returns all waiting
    /// mail but that about the life cycle, and refuses all other from now on.
    pub fn hurry(&self) -> Vec<Mail> {
        let mut queue = self.lock();
        if !matches!(queue.intake, Intake::Stopping | Intake::Ending) {
            return Vec::new();
        }
        queue.intake = Intake::Ending;
        let removed = queue.take_slots();
        self.mail_went(queue);
        removed
    }

    /// Closes an open mailbox at once, until it is [started](Mailbox::start); returns all waiting
    /// mail but a replacement. Returns `None` if the mailbox is not open. The caller holds the right
    /// to run.
    pub fn shut(&self, intake: Intake) -> Option<Vec<Mail>> {
        let mut queue = self.lock();
        if queue.intake != Intake::Open {
            return None;
        }
        queue.intake = intake;
        // A replacement makes it run again.
        let removed = queue.take_all_but(|mail| matches!(mail, Mail::Replace(_)));
        self.note_load(&queue);
        drop(queue);
        self.room.notify_waiters();
        Some(removed)
    }

    /// Queues `start` for a receiver that is stopped, about to be stopped, or failed. Returns it
    /// otherwise, without a reason if the mailbox is open.
    #[expect(clippy::result_large_err, reason = "refused mail goes back as it came")]
    pub fn start(&self, start: Mail) -> Result<(), (Option<Refusal>, Mail)> {
        let queue = self.lock();
        match queue.intake {
            Intake::Stopping | Intake::Ending | Intake::Stopped | Intake::Failed => {
                self.push_control(queue, start);
                Ok(())
            }
            intake => Err((intake.refusal(), start)),
        }
    }

    /// Queues a replacement before the waiting mail, unless the mailbox is closed for good.
    pub fn replace(&self, replace: Mail) -> Result<Place, Refusal> {
        let queue = self.lock();
        if queue.intake.is_final() {
            drop(queue);
            replace.withdraw();
            return Err(Refusal::Closed);
        }
        Ok(self.push_control(queue, replace))
    }

    /// Removes mail about the life cycle that nobody waits for any longer.
    pub fn retract(&self, place: Place) {
        let mut queue = self.lock();
        let removed = queue.retract(place);
        self.note_load(&queue);
        drop(queue);
        if let Some(mail) = removed {
            mail.withdraw();
        }
    }

    /// Opens a stopped mailbox: its receiver has an instance again.
    pub fn reopen(&self) {
        let mut queue = self.lock();
        if matches!(queue.intake, Intake::Stopped | Intake::Failed) {
            queue.intake = Intake::Open;
        }
    }

    /// Notes that a start of the receiver has failed.
    pub fn fail_start(&self) {
        let mut queue = self.lock();
        if queue.intake == Intake::Stopped {
            queue.intake = Intake::Failed;
        }
    }

    /// Returns whether the mailbox is closed for good.
    pub fn is_final(&self) -> bool {
        self.lock().intake.is_final()
    }

    /// Returns whether the mailbox is open, and the host is not about to restart its owner.
    pub fn is_left_alone(&self) -> bool {
        let queue = self.lock();
        queue.intake == Intake::Open && !queue.awaits_restart()
    }

    /// Returns whether the mailbox is open.
    pub fn is_open(&self) -> bool {
        self.lock().intake == Intake::Open
    }

    fn push_control(&self, mut queue: MutexGuard<'_, Queue>, mail: Mail) -> Place {
        let size = mail.size();
        let place = queue.push(mail, size);
        self.note_load(&queue);
        let wake = queue.grant();
        drop(queue);
        self.room.notify_waiters();
        if wake {
            self.wake();
        }
        place
    }

    /// Lets mail wait until `over` completes, for the receiver's task within its right to run. Mail
    /// about the life cycle, and the end of an open mailbox, end the rest early. `rest` is
    /// [`Runner::Resting`] or [`Runner::Grouped`].
    pub async fn rest(&self, rest: Runner, over: impl Future<Output = ()>) {
        let mut over = pin!(over);
        let mut rested = false;
        poll_fn(|cx| {
            let is_over = over.as_mut().poll(cx).is_ready();
            let mut queue = self.lock();
            let room = !std::mem::replace(&mut rested, true) && queue.handled();
            let ends = is_over || queue.ends_rest(rest);
            queue.runner = if ends { Runner::OnWorker } else { rest };
            self.note_load(&queue);
            drop(queue);
            if room {
                self.room.notify_waiters();
            }
            if ends { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// Closes the mailbox for good and removes all waiting mail.
    pub fn drain(&self) -> Vec<Mail> {
        let mut queue = self.lock();
        if !queue.intake.is_final() {
            queue.intake = Intake::Abandoned;
        }
        let mail = queue.take_all();
        drop(queue);
        self.room.notify_waiters();
        mail
    }

    /// Answers mail that will not be handled; messages become dead letters.
    pub fn dead_letter(&self, mail: Vec<Mail>, reason: &CallError) {
        for mail in mail {
            match mail {
                Mail::Message(message, reply) => {
                    self.dead_letters.take(&self.owner, message, reason);
                    reply.answer(Err(reason.clone()));
                }
                other => {
                    if let Some(reply) = other.into_reply() {
                        reply.answer(Err(reason.clone()));
                    }
                }
            }
        }
    }

    /// Dead-letters a message that does not fit its receiver.
    pub fn lose(&self, message: &Message, reason: &CallError) {
        self.dead_letters.take(&self.owner, message.clone(), reason);
    }

    fn wake(&self) {
        if let Some(task) = self.waker.get() {
            task.wake_by_ref();
        } else if let Some(receiver) = self.receiver.get().and_then(Weak::upgrade) {
            // Without a receiver the engine is being freed: dropping the mail drops its replies,
            // and those answer for themselves.
            receiver.start();
        }
    }

    /// Checks that no sender waits in vain. Called when no task has work.
    #[cfg(test)]
    pub fn check_waiters(&self) {
        if self.waiting() > 0 {
            self.lock().check_waiters(&self.options.bounds, &self.account);
        }
    }

    /// Checks the bookkeeping and the bounds.
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

/// Holds a counter one higher until dropped.
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

    struct Nowhere;

    impl DeadLetters for Nowhere {
        fn take(&self, _: &Arc<ComponentId>, _: Message, _: &CallError) {}
    }

    fn poll(mailbox: &Mailbox) -> Poll<Option<Mail>> {
        pin!(mailbox.next()).poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_spurious_poll_does_not_strand_the_last_mail() {
        let owner = Arc::new(ComponentId::parse("a/b/c").unwrap());
        let options = MailboxOptions::default();
        let (node, dead) = (Arc::default(), Arc::new(Nowhere));
        let account = Account::new(1 << 20, Arc::default());
        let mailbox = Mailbox::new(ComponentHandle(1), owner, node, options, dead, account);
        mailbox.release();
        assert!(poll(&mailbox).is_pending());
        assert!(matches!(mailbox.try_acquire(&[], false), Ok(Acquire::Acquired(_))));
        let removed = mailbox.close(Mail::Shutdown(Reply::nobody()), false);
        assert!(removed.is_some_and(|removed| removed.is_empty()));
        // A caller holds the right to run; the task gets the last mail only later.
        assert!(poll(&mailbox).is_pending());
        mailbox.release();
        assert!(matches!(poll(&mailbox), Poll::Ready(Some(Mail::Shutdown(_)))));
        assert!(matches!(poll(&mailbox), Poll::Ready(None)));
    }
}
