//! Groups of mailboxes that share an id or a handle.

use std::future::poll_fn;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use vec1::Vec1;

use crate::core::wait_graph::{Wait, WaitNode};
use crate::messaging::mail::{Mail, Refusal};
use crate::messaging::mailbox::Mailbox;
use crate::messaging::queue::Place;

/// Where mail was accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivered {
    /// The index of the accepting mailbox.
    pub at: usize,
    /// The place in that mailbox.
    pub place: Place,
}

/// Mail refused by every mailbox.
pub struct Undelivered {
    /// The reason for the refusal; of several, the one most likely to pass.
    pub refusal: Refusal,
    /// The mail.
    pub mail: Mail,
    /// The index of the mailbox with that reason.
    pub at: usize,
}

/// A group of mailboxes, any of which may take a message.
pub struct Members {
    mailboxes: Vec1<Arc<Mailbox>>,
    /// Where the next search starts, so that equally busy members take turns.
    next: AtomicUsize,
}

impl Members {
    /// Creates a group.
    pub fn new(mailboxes: Vec1<Arc<Mailbox>>) -> Self {
        Self { mailboxes, next: AtomicUsize::new(0) }
    }

    /// Returns all members, in order of creation.
    pub fn all(&self) -> &Vec1<Arc<Mailbox>> {
        &self.mailboxes
    }

    /// Returns the index of the least busy member.
    pub fn least_busy(&self) -> usize {
        let count = self.mailboxes.len();
        if count == 1 {
            return 0;
        }
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let at = |n: usize| first.wrapping_add(n) % count;
        let load = |at: usize| self.mailboxes[at].load();
        (1..count).map(at).fold(at(0), |best, at| if load(at) < load(best) { at } else { best })
    }

    /// Returns the least busy member.
    pub fn pick(&self) -> &Arc<Mailbox> {
        &self.mailboxes[self.least_busy()]
    }

    /// Queues mail with the least busy member, or else with any that accepts it.
    #[expect(clippy::result_large_err, reason = "refused mail goes back as it came")]
    pub fn deliver(&self, mail: Mail) -> Result<Delivered, Undelivered> {
        let first = self.least_busy();
        match self.mailboxes[first].deliver(mail) {
            Ok(place) => Ok(Delivered { at: first, place }),
            Err((refusal, mail)) => {
                self.deliver_elsewhere(Undelivered { refusal, mail, at: first })
            }
        }
    }

    #[cold]
    #[expect(clippy::result_large_err, reason = "refused mail goes back as it came")]
    fn deliver_elsewhere(&self, first: Undelivered) -> Result<Delivered, Undelivered> {
        let least_busy = first.at;
        let mut others = (0..self.mailboxes.len()).filter(|at| *at != least_busy);
        match others.try_fold(first, |refused, at| self.deliver_to(at, refused)) {
            ControlFlow::Break(delivered) => Ok(delivered),
            ControlFlow::Continue(undelivered) => Err(undelivered),
        }
    }

    /// Tries one more member.
    fn deliver_to(&self, at: usize, before: Undelivered) -> ControlFlow<Delivered, Undelivered> {
        match self.mailboxes[at].deliver(before.mail) {
            Ok(place) => ControlFlow::Break(Delivered { at, place }),
            Err((refusal, mail)) => {
                let passes = self.passes(&refusal, at) > self.passes(&before.refusal, before.at);
                let (refusal, at) =
                    if passes { (refusal, at) } else { (before.refusal, before.at) };
                ControlFlow::Continue(Undelivered { refusal, mail, at })
            }
        }
    }

    /// Returns how likely the reason for a refusal is to pass, as a rank.
    fn passes(&self, refusal: &Refusal, at: usize) -> u8 {
        match refusal {
            Refusal::Cycle => 0,
            Refusal::Closed => 1,
            Refusal::Failed => 2,
            Refusal::Stopped => 3,
            Refusal::TooLarge { .. } | Refusal::Codec(_) | Refusal::NoHandler(_) => 4,
            Refusal::NoRoom(_) => 5,
            Refusal::Full(_) => 5 + u8::from(self.mailboxes[at].blocks_senders()),
        }
    }

    /// As [`Members::deliver`], but only to a member whose outcome `waiter` can await. The wait
    /// begins before the delivery, so that it cannot come too late.
    #[expect(clippy::result_large_err, reason = "refused mail goes back as it came")]
    pub fn deliver_awaited(
        &self,
        mail: Mail,
        waiter: &Arc<WaitNode>,
    ) -> Result<(Delivered, Wait), Undelivered> {
        let mut order: Vec<_> = (0..self.mailboxes.len()).collect();
        order.sort_by_key(|at| self.mailboxes[*at].load());
        let mut undelivered = Undelivered { refusal: Refusal::Cycle, mail, at: 0 };
        for at in order {
            let node = self.mailboxes[at].node();
            let Some(wait) = Wait::begin(Some(Arc::clone(waiter)), node) else { continue };
            match self.deliver_to(at, undelivered) {
                ControlFlow::Break(delivered) => return Ok((delivered, wait)),
                ControlFlow::Continue(refused) => undelivered = refused,
            }
        }
        Err(undelivered)
    }

    /// Returns the members that would accept `mail` given room and that `waiter` can wait for; the
    /// wait begins here. Returns `None` if every wait would close a cycle. For a `waiter` of `None`
    /// see [`Wait::begin`].
    pub fn rooms(&self, mail: &Mail, waiter: Option<&Arc<WaitNode>>) -> Option<Rooms> {
        let (mut rooms, mut cycle) =
            (Rooms { of: Vec::new(), size: mail.size(), wait: None }, false);
        for mailbox in &self.mailboxes {
            if mailbox.suits(mail).is_err() || !mailbox.will_have_room(rooms.size) {
                continue;
            }
            // One edge in the wait-for graph is enough: another member can at most have room
            // earlier.
            match Wait::begin(waiter.cloned(), mailbox.node()) {
                Some(wait) => {
                    rooms.wait.get_or_insert(wait);
                    rooms.of.push(Arc::clone(mailbox));
                }
                None => cycle = true,
            }
        }
        (!cycle || !rooms.of.is_empty()).then_some(rooms)
    }
}

/// Full mailboxes to wait for.
pub struct Rooms {
    of: Vec<Arc<Mailbox>>,
    size: u64,
    wait: Option<Wait>,
}

impl Rooms {
    /// Waits until one of them may have room or can no longer notify.
    pub async fn wait(self) {
        let mut rooms: Vec<_> =
            self.of.iter().map(|mailbox| Box::pin(mailbox.room(self.size))).collect();
        poll_fn(|cx| {
            let over = rooms.iter_mut().any(|room| room.as_mut().poll(cx).is_ready());
            if over || rooms.is_empty() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        drop(self.wait);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::account::Account;
    use crate::core::codec::CodecSet;
    use crate::core::error::CallError;
    use crate::core::id::{ComponentHandle, ComponentId};
    use crate::core::limits::{MailboxBounds, WhenFull};
    use crate::core::message::Message;
    use crate::core::payload::Payload;
    use crate::core::ports::DeadLetters;
    use crate::messaging::mailbox::MailboxOptions;
    use crate::messaging::reply::Reply;
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Waker};
    use vec1::vec1;

    struct Nowhere;

    impl DeadLetters for Nowhere {
        fn take(&self, _: &Arc<ComponentId>, _: Message, _: &CallError) {}
    }

    fn mailbox(options: MailboxOptions, host_bytes: u64) -> Arc<Mailbox> {
        let owner = Arc::new(ComponentId::parse("a/b/c").unwrap());
        let account = Account::new(host_bytes, Arc::default());
        let handle = ComponentHandle(1);
        Mailbox::new(handle, owner, Arc::default(), options, Arc::new(Nowhere), account)
    }

    fn for_one(when_full: WhenFull) -> MailboxOptions {
        let bounds = MailboxBounds { messages: 1, ..MailboxBounds::default() };
        MailboxOptions { bounds, when_full, ..MailboxOptions::default() }
    }

    fn mail() -> Mail {
        Mail::Message(Message::new(None, Payload::copy_of(b"\x51cbor")), Reply::nobody())
    }

    fn closed() -> Arc<Mailbox> {
        let closed = mailbox(MailboxOptions::default(), 1 << 20);
        closed.drain();
        closed
    }

    fn is_over(rooms: Option<Rooms>) -> bool {
        let wait = pin!(rooms.expect("no cycle").wait());
        wait.poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn a_closed_member_leaves_mail_to_another() {
        let members = Members::new(vec1![closed(), mailbox(MailboxOptions::default(), 1 << 20)]);
        // Whichever member the search starts with.
        for _ in 0..4 {
            assert_eq!(members.deliver(mail()).ok().map(|delivered| delivered.at), Some(1));
        }
        let all_closed = Members::new(vec1![closed(), closed()]);
        let Err(undelivered) = all_closed.deliver(mail()) else { panic!("taken") };
        assert_eq!(undelivered.refusal, Refusal::Closed);
        assert!(is_over(all_closed.rooms(&mail(), None)), "a closed mailbox never notifies");
    }

    #[test]
    fn only_mailboxes_that_will_notify_are_waited_for() {
        let codecs = CodecSet::from_names(["json"]).unwrap();
        let picky = mailbox(MailboxOptions { codecs, ..MailboxOptions::default() }, 1 << 20);
        let starved = mailbox(MailboxOptions::default(), 1);
        let full = mailbox(for_one(WhenFull::Block), 1 << 20);
        let members = Members::new(vec1![closed(), picky, starved, Arc::clone(&full)]);
        assert_eq!(members.deliver(mail()).ok().map(|delivered| delivered.at), Some(3));
        for _ in 0..4 {
            let Err(undelivered) = members.deliver(mail()) else { panic!("taken") };
            assert_eq!((undelivered.at, full.blocks_senders()), (3, true));
        }
        assert!(!is_over(members.rooms(&mail(), None)));
        let mut wait = pin!(members.rooms(&mail(), None).expect("no cycle").wait());
        let mut poll = || wait.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready();
        assert!(!poll());
        full.drain();
        assert!(poll());
    }

    #[test]
    fn closing_the_last_mailbox_ends_the_wait_for_room() {
        let [own, other] = [(); 2].map(|()| mailbox(for_one(WhenFull::Block), 1 << 20));
        let members = Members::new(vec1![Arc::clone(&own), Arc::clone(&other)]);
        for _ in 0..2 {
            assert!(members.deliver(mail()).is_ok());
        }
        let mut wait = pin!(members.rooms(&mail(), Some(own.node())).expect("the other").wait());
        let mut poll = || wait.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready();
        assert!(!poll());
        other.drain();
        assert!(poll());
        assert!(members.rooms(&mail(), Some(own.node())).is_none(), "only its own is left");
    }

    #[test]
    fn awaited_mail_goes_only_to_members_that_can_be_waited_for() {
        let [one, other] = [(); 2].map(|()| mailbox(for_one(WhenFull::Reject), 1 << 20));
        let members = Members::new(vec1![Arc::clone(&one), Arc::clone(&other)]);
        let caller = Arc::default();
        let other_waits = Wait::begin(Some(Arc::clone(other.node())), &caller).unwrap();
        let Ok((delivered, wait)) = members.deliver_awaited(mail(), &caller) else {
            panic!("one takes it")
        };
        assert_eq!(delivered.at, 0);
        assert!(Wait::begin(Some(Arc::clone(one.node())), &caller).is_none(), "it is waited for");
        drop(wait);
        let refusal = || members.deliver_awaited(mail(), &caller).err().map(|it| it.refusal);
        assert!(matches!(refusal(), Some(Refusal::Full(_))), "one is full, and the other waits");
        let _one_waits = Wait::begin(Some(Arc::clone(one.node())), &caller).unwrap();
        assert_eq!(refusal(), Some(Refusal::Cycle));
        assert!(members.rooms(&mail(), Some(&caller)).is_none());
        drop(other_waits);
        assert_eq!(members.deliver_awaited(mail(), &caller).ok().map(|taken| taken.0.at), Some(1));
    }
}
