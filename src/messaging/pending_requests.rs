//! Pending requests, each with exactly one outcome.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use tokio::sync::Notify;

use crate::core::account::Charge;
use crate::core::clock::Clock;
use crate::core::error::{CallError, Unfit};
use crate::core::id::{ComponentId, CorrelationId, shorten};
use crate::core::message::{ERROR_CONTENT_TYPE, Message, Outcome, error_document};
use crate::core::ports::Router;
use crate::messaging::mail::{Mail, Refusal};
use crate::messaging::mailbox::Mailbox;
use crate::messaging::permutation::Permutation;
use crate::messaging::queue::Place;
use crate::messaging::slab::Key;
use crate::messaging::wheel::Wheel;
use crate::security::quota::Permit;

/// The host's callback for the outcome of its own request.
pub type Completion = Box<dyn FnOnce(CorrelationId, Outcome) + Send>;

/// Runs host code on a thread other than the one that completes the request.
pub type RunCompletion = Arc<dyn Fn(Box<dyn FnOnce() + Send>) + Send + Sync>;

/// The requester, who gets the outcome.
pub enum Requester {
    /// A component, by callback. `permit` is the request's share of the quota, `charge` its share
    /// of the account.
    Component { mailbox: Weak<Mailbox>, permit: Option<Permit>, charge: Charge },
    /// The host.
    Host(Completion),
}

/// The table of pending requests.
///
/// Whatever removes a request from the table (reply, deadline, or cancellation) decides its
/// outcome; the others find nothing.
pub struct PendingRequests {
    table: Mutex<Wheel<Pending>>,
    /// Maps the table's predictable keys to ids, so that knowing some ids tells nothing about
    /// others.
    ids: Permutation,
    /// Wakes [`watch_deadlines`] on an earlier deadline or the end of the table.
    changed: Arc<Notify>,
    /// Notified when a request that it took is abandoned.
    router: Option<Arc<dyn Router>>,
    run_completion: RunCompletion,
    late: AtomicU64,
}

/// The receiver of a request.
pub enum RequestTarget {
    /// A component of this engine. `place` is the message's position in the mailbox, set only when
    /// needed. `ends`: interrupt the receiver if the requester gives up.
    Here { mailbox: Arc<Mailbox>, place: Option<Place>, ends: bool },
    /// The host's router took it; only the host may complete it.
    Elsewhere(Arc<ComponentId>),
}

impl RequestTarget {
    /// Creates a receiver in this engine: a component, or one of several with the same id.
    pub fn here(mailbox: &Arc<Mailbox>) -> Self {
        Self::Here { mailbox: Arc::clone(mailbox), place: None, ends: false }
    }

    /// Returns the receiver's id.
    pub fn id(&self) -> &Arc<ComponentId> {
        match self {
            Self::Here { mailbox, .. } => mailbox.owner(),
            Self::Elsewhere(id) => id,
        }
    }
}

struct Pending {
    requester: Requester,
    receiver: RequestTarget,
}

/// The table has no room for another request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableFull;

/// A request in the table, as this library refers to it.
#[derive(Clone, Copy, Debug)]
pub struct Ticket {
    /// The id that everyone else uses.
    pub id: CorrelationId,
    key: Key,
}

impl PendingRequests {
    /// Creates an empty table; deadlines lie after `now`. `router` is notified of cancellations and
    /// must not block. `run_completion` runs the completions of the host's requests.
    pub fn new(
        router: Option<Arc<dyn Router>>,
        run_completion: RunCompletion,
        now: Instant,
    ) -> Self {
        Self {
            table: Mutex::new(Wheel::new(now)),
            ids: Permutation::random(),
            changed: Arc::default(),
            router,
            run_completion,
            late: AtomicU64::new(0),
        }
    }

    /// Enters a request, without a deadline.
    pub fn open(&self, requester: Requester, receiver: RequestTarget) -> Result<Ticket, TableFull> {
        let pending = Pending { requester, receiver };
        let key = self.lock().insert(pending, None).map_err(|_| TableFull)?;
        Ok(Ticket { id: self.id(key), key })
    }

    /// Ties the message to its request: cancellation or the deadline removes the message from the
    /// mailbox, or interrupts its handler.
    pub fn end_with(&self, request: Ticket, to: &Arc<Mailbox>, at: Place) {
        if let Some(pending) = self.lock().get_mut(request.key) {
            pending.receiver =
                RequestTarget::Here { mailbox: Arc::clone(to), place: Some(at), ends: true };
        }
    }

    /// Sets the deadline, unless the request is already complete. At the deadline, a message still
    /// waiting at `delivered` is removed from the mailbox.
    pub fn arm(
        &self,
        request: Ticket,
        deadline: Instant,
        delivered: Option<(&Arc<Mailbox>, Place)>,
    ) {
        let mut table = self.lock();
        if let (Some((to, at)), Some(pending)) = (delivered, table.get_mut(request.key))
            && let RequestTarget::Here { mailbox, place, .. } = &mut pending.receiver
        {
            *place = Some(at);
            if !Arc::ptr_eq(mailbox, to) {
                *mailbox = Arc::clone(to);
            }
        }
        // The watcher sleeps until `next_look`, which even a deadline of a later revolution may
        // move.
        let before = table.next_look();
        table.arm(request.key, deadline);
        let after = table.next_look();
        drop(table);
        if after.is_some_and(|after| before.is_none_or(|before| after < before)) {
            self.changed.notify_one();
        }
    }

    /// Removes a request that was never accepted, without an outcome. Returns false if it is
    /// already complete.
    pub fn discard(&self, request: Ticket) -> bool {
        self.take(request).is_some()
    }

    /// Removes a component's request without a callback. Returns false if `owner` has no request
    /// `id`.
    pub fn cancel_of(&self, owner: &Weak<Mailbox>, id: CorrelationId) -> bool {
        let owns = |pending: &Pending| matches!(&pending.requester, Requester::Component { mailbox, .. } if mailbox.ptr_eq(owner));
        let Some(pending) = self.take_if(id, owns) else { return false };
        self.abandon(id, &pending);
        true
    }

    /// Completes a request of the host as cancelled. Returns false if the host has no request `id`.
    pub fn cancel_of_host(&self, id: CorrelationId) -> bool {
        let owns = |pending: &Pending| matches!(pending.requester, Requester::Host(_));
        let Some(pending) = self.take_if(id, owns) else { return false };
        self.abandon(id, &pending);
        if let RequestTarget::Here { mailbox, place: Some(place), ends: true } = &pending.receiver
            && mailbox.give_up(*place, |_| CallError::Cancelled).is_none()
        {
            mailbox.interrupt(*place);
        }
        self.finish(id, pending, Err(CallError::Cancelled));
        true
    }

    /// Delivers the outcome, if the requester still waits for it.
    pub fn complete(&self, request: Ticket, outcome: Outcome) {
        match self.take(request) {
            Some(pending) => self.finish(request.id, pending, outcome),
            None => {
                self.late.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// As [`PendingRequests::complete`], for a request taken by the host's router. Returns false if no
    /// one waits for it.
    pub fn complete_routed(&self, id: CorrelationId, outcome: Outcome) -> bool {
        let is_routed = |pending: &Pending| matches!(pending.receiver, RequestTarget::Elsewhere(_));
        let taken = self.take_if(id, is_routed);
        let waited_for = taken.is_some();
        match taken {
            Some(pending) => self.finish(id, pending, outcome),
            None => {
                self.late.fetch_add(1, Ordering::Relaxed);
            }
        }
        waited_for
    }

    /// Completes all requests with the same error.
    pub fn complete_all(&self, error: &CallError) {
        let all = self.lock().drain();
        for (key, pending) in all {
            self.finish(self.id(key), pending, Err(error.clone()));
        }
    }

    /// Returns the number of pending requests.
    pub fn outstanding(&self) -> usize {
        self.lock().len()
    }

    /// Returns whether no request is pending.
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Returns the number of outcomes that arrived too late.
    pub fn late(&self) -> u64 {
        self.late.load(Ordering::Relaxed)
    }

    /// Ends all requests past their deadline and returns when to look again.
    fn expire(&self, now: Instant) -> Option<Instant> {
        loop {
            let mut table = self.lock();
            let Some((key, pending)) = table.pop_expired(now) else { return table.next_look() };
            drop(table);
            let id = self.id(key);
            self.abandon(id, &pending);
            let timeout = |unstarted| CallError::CorrelationTimeout { correlation: id, unstarted };
            let given_up = match &pending.receiver {
                RequestTarget::Here { mailbox, place: Some(place), ends } => {
                    let given_up = mailbox.give_up(*place, |unstarted| timeout(Some(unstarted)));
                    if given_up.is_none() && *ends {
                        mailbox.interrupt(*place);
                    }
                    given_up
                }
                _ => None,
            };
            self.finish(id, pending, Err(given_up.unwrap_or_else(|| timeout(None))));
        }
    }

    fn take(&self, request: Ticket) -> Option<Pending> {
        self.lock().remove(request.key)
    }

    fn take_if(&self, id: CorrelationId, wanted: impl Fn(&Pending) -> bool) -> Option<Pending> {
        let key = Key::new(self.ids.reveal(id.0));
        let mut table = self.lock();
        if wanted(table.get(key)?) { table.remove(key) } else { None }
    }

    fn finish(&self, id: CorrelationId, pending: Pending, outcome: Outcome) {
        let requester = match pending.requester {
            Requester::Host(completion) => {
                return (self.run_completion)(Box::new(move || completion(id, outcome)));
            }
            Requester::Component { mailbox, permit, charge } => {
                // Released before the callback, which may make the next request.
                drop((permit, charge));
                mailbox
            }
        };
        let Some(requester) = requester.upgrade() else { return };
        let callback = |payload: Vec<u8>, content_type| {
            Mail::Callback(Message {
                content_type,
                correlation: Some(id),
                ..Message::new(Some(Arc::clone(pending.receiver.id())), payload.into())
            })
        };
        let failure = |code, text: &str| {
            callback(error_document(code, text), Some(ERROR_CONTENT_TYPE.into()))
        };
        let (whole, failed) = match outcome {
            Ok(reply) => (callback(reply.unwrap_or_default(), None), None),
            Err(error) => {
                let (code, text) = (error.code(), error.to_string());
                (failure(code, &text), Some((code, shorten(&text))))
            }
        };
        // A requester on its way out needs no outcome.
        let Err((refusal, refused)) = requester.deliver(whole) else { return };
        let bytes = refused.payload_bytes() as u64;
        drop(refused);
        let (limit, value) = match refusal {
            Refusal::Full(by) | Refusal::NoRoom(by) => by.limit(),
            Refusal::TooLarge { limit, .. } => ("max-message-bytes", limit),
            Refusal::Closed
            | Refusal::Stopped
            | Refusal::Failed
            | Refusal::Cycle
            | Refusal::Codec(_)
            | Refusal::NoHandler(_) => return,
        };
        let small = match failed {
            Some((code, text)) => failure(code, &text),
            None => {
                let unfit = CallError::DoesNotFit(Unfit::Outcome { bytes, limit, value });
                failure(unfit.code(), &unfit.to_string())
            }
        };
        let refused = requester.deliver(small).err();
        debug_assert!(
            refused.is_none_or(|(refusal, _)| matches!(
                refusal,
                Refusal::Closed | Refusal::Stopped | Refusal::Failed
            )),
            "the room for a small callback is charged with its request"
        );
    }

    fn abandon(&self, id: CorrelationId, pending: &Pending) {
        if let (RequestTarget::Elsewhere(_), Some(router)) = (&pending.receiver, &self.router) {
            router.cancel(id);
        }
    }

    fn id(&self, key: Key) -> CorrelationId {
        CorrelationId(self.ids.hide(key.number()))
    }

    fn lock(&self) -> MutexGuard<'_, Wheel<Pending>> {
        // No code under the lock can panic half-way through a change.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for PendingRequests {
    fn drop(&mut self) {
        self.changed.notify_one();
    }
}

/// The system clock, with a timer of the workers.
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn sleep_until(&self, at: Instant) -> impl Future<Output = ()> + Send {
        tokio::time::sleep_until(at.into())
    }
}

/// Ends requests at their deadlines for as long as the table exists.
pub fn watch_deadlines(
    table: &Arc<PendingRequests>,
    clock: impl Clock,
) -> impl Future<Output = ()> + Send + 'static {
    let changed = Arc::clone(&table.changed);
    let table = Arc::downgrade(table);
    async move {
        loop {
            let next = match table.upgrade() {
                Some(table) => table.expire(clock.now()),
                None => return,
            };
            match next {
                Some(deadline) => tokio::select! {
                    biased;
                    () = changed.notified() => {}
                    () = clock.sleep_until(deadline) => {}
                },
                None => changed.notified().await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};
    use std::time::Duration;

    fn told(table: &PendingRequests) -> bool {
        let notified = pin!(table.changed.notified());
        matches!(notified.poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(()))
    }

    #[test]
    fn earlier_deadlines_wake_the_watcher() {
        let now = Instant::now();
        let table = PendingRequests::new(None, Arc::new(|job| job()), now);
        let arm = |seconds| {
            let receiver = RequestTarget::Elsewhere(Arc::new(ComponentId::parse("a/b/c").unwrap()));
            let id = table.open(Requester::Host(Box::new(|_, _| ())), receiver).unwrap();
            table.arm(id, now + Duration::from_secs(seconds), None);
        };
        arm(5);
        assert!(told(&table));
        let sleeps_until = table.expire(now).unwrap();
        // A deadline of a later revolution: its slot comes up earlier.
        arm(10);
        arm(3);
        assert!(told(&table), "asleep until {:?}", sleeps_until - now);
    }
}
