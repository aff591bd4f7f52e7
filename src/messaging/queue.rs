//! The waiting mail of a mailbox, and the state of its handler.

use std::collections::VecDeque;
use std::num::NonZeroU64;

use crate::core::account::Account;
use crate::core::limits::{MailboxBound, MailboxBounds};
use crate::messaging::mail::Mail;
#[cfg(test)]
use crate::messaging::reply::Reply;

/// A queue with more capacity than this releases its memory when little of it is used.
const KEPT_CAPACITY: usize = 256;

/// The number of empty slots tolerated, unless more mail than this waits.
const KEPT_EMPTY: usize = 32;

/// How many slots are checked for withdrawn mail when counting what is ahead; beyond it every slot
/// counts.
const COUNTED: usize = 1024;

/// Counts of the mail through a mailbox.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Messages accepted.
    pub accepted: u64,
    /// Messages refused.
    pub refused: u64,
    /// Messages accepted and never handled.
    pub dropped: u64,
}

/// The place of mail in its mailbox. Never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place(NonZeroU64);

/// Who holds the right to run. Where mail waits, someone does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runner {
    /// Nobody: no mail waits, and none is in progress.
    Idle,
    /// A caller's thread, for mail of its own that bypasses the queue.
    OnCaller,
    /// The receiver's task, which was woken for it.
    OnWorker,
    /// The receiver's task, which waits for mail within a call of its guest, see
    /// [`Mailbox::poll_kept`](crate::messaging::mailbox::Mailbox::poll_kept).
    Parked,
}

impl Runner {
    /// Whether the receiver's task holds the right.
    pub fn is_task(self) -> bool {
        matches!(self, Self::OnWorker | Self::Parked)
    }
}

/// What a mailbox accepts. It goes from one state to a later one, never back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Intake {
    /// All mail.
    Open,
    /// Outcomes of the owner's requests: the last mail waits behind others.
    Closing,
    /// Nothing. The receiver's task ends with the mail that waits.
    Closed,
    /// Nothing, and no last mail comes: the receiver's task ends with the workers.
    Abandoned,
}

impl Intake {
    /// The last mail was taken, or removed.
    fn end(&mut self) {
        if *self == Self::Closing {
            *self = Self::Closed;
        }
    }
}

struct Slot {
    place: Place,
    /// `None` once withdrawn: removing the slot would move the others.
    mail: Option<Mail>,
}

/// A restart that waits, and those behind it.
struct Restart {
    place: Place,
    mail: Mail,
    next: Option<Box<Self>>,
}

/// The state under a mailbox's lock.
pub struct Queue {
    /// Sorted by place. The first slot is never empty.
    slots: VecDeque<Slot>,
    /// Restarts come before all other mail. They are rare, so they get little room here.
    restarts: Option<Box<Restart>>,
    /// The number of empty slots.
    empty: u32,
    next_place: Place,
    /// The number of messages in the queue. Only these count against the capacity.
    messages: u32,
    /// The bytes of waiting mail, callbacks included.
    bytes: u64,
    /// The bytes of mail in progress.
    handled_bytes: u64,
    /// The mail in progress.
    handled: Option<Place>,
    pub runner: Runner,
    pub intake: Intake,
    /// The longest recent queue; decays each time the queue is empty.
    peak: u32,
    /// Whether senders wait for room.
    pub waited_for: bool,
    /// The number of messages for which the task does not park, because direct callers want the
    /// right.
    pub unparked_for: u8,
    pub traffic: Traffic,
}

impl Queue {
    /// Creates an empty queue; its creator holds the right to run.
    pub fn held_by_its_maker() -> Self {
        Self {
            slots: VecDeque::new(),
            restarts: None,
            empty: 0,
            next_place: Place(NonZeroU64::MIN),
            messages: 0,
            bytes: 0,
            handled_bytes: 0,
            handled: None,
            runner: Runner::OnCaller,
            intake: Intake::Open,
            peak: 0,
            waited_for: false,
            unparked_for: 0,
            traffic: Traffic::default(),
        }
    }

    /// Returns the number of waiting messages.
    pub fn len(&self) -> usize {
        self.slots.len() - self.empty as usize + self.restarts().count()
    }

    /// Returns whether no mail waits.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty() && self.restarts.is_none()
    }

    fn restarts(&self) -> impl Iterator<Item = &Mail> {
        let first = self.restarts.as_deref();
        std::iter::successors(first, |restart| restart.next.as_deref()).map(|it| &it.mail)
    }

    /// Returns the bytes of waiting mail.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns the bound that leaves no room for a message of `size`. With no other message
    /// waiting, only the account limits the size.
    pub fn full(
        &self,
        bounds: &MailboxBounds,
        account: &Account,
        size: u64,
    ) -> Option<MailboxBound> {
        let held = account.held_besides_mail().saturating_add(self.held());
        if held.saturating_add(size) > account.limit() {
            Some(MailboxBound::HostBytes(account.limit()))
        } else if self.messages == 0 {
            None
        } else if self.messages as usize >= bounds.messages {
            Some(MailboxBound::Messages(bounds.messages))
        } else {
            let fits = self.bytes.saturating_add(size) <= bounds.bytes;
            (!fits).then_some(MailboxBound::Bytes(bounds.bytes))
        }
    }

    /// Returns the host memory that this mailbox holds.
    pub fn held(&self) -> u64 {
        self.bytes + self.handled_bytes
    }

    /// Returns whether to wake blocked senders. They are woken in batches: one wake-up per message
    /// would cost too much.
    pub fn gives_turns(&mut self, bounds: &MailboxBounds) -> bool {
        let is_half_empty =
            self.messages as usize <= bounds.messages / 2 && self.bytes <= bounds.bytes / 2;
        is_half_empty && std::mem::take(&mut self.waited_for)
    }

    /// Appends mail.
    pub fn push(&mut self, mail: Mail, size: u64) -> Place {
        let place = self.take_place();
        self.messages += u32::from(matches!(mail, Mail::Message(..)));
        self.bytes += size;
        if matches!(mail, Mail::Restart(_)) {
            let mut end = &mut self.restarts;
            while let Some(restart) = end {
                end = &mut restart.next;
            }
            *end = Some(Box::new(Restart { place, mail, next: None }));
            return place;
        }
        self.slots.push_back(Slot { place, mail: Some(mail) });
        self.peak = self.peak.max(u32::try_from(self.slots.len()).unwrap_or(u32::MAX));
        place
    }

    fn take_place(&mut self) -> Place {
        let place = self.next_place;
        self.next_place = Place(place.0.saturating_add(1));
        place
    }

    /// Takes the right to run for mail that bypasses the queue; returns its place.
    pub fn run_at_once(&mut self) -> Place {
        let place = self.take_place();
        self.runner = Runner::OnCaller;
        self.handled = Some(place);
        place
    }

    /// Returns whether the mail at this place is in progress.
    pub fn handles(&self, place: Place) -> bool {
        self.handled == Some(place)
    }

    /// Returns whether mail of another place is in progress.
    pub fn handles_other(&self, place: Place) -> bool {
        self.handled.is_some_and(|handled| handled != place)
    }

    /// Inserts mail before the last.
    pub fn push_before_last(&mut self, mail: Mail, size: u64) -> Place {
        let last = self.slots.pop_back().and_then(|slot| slot.mail);
        let place = self.push(mail, size);
        if let Some(last) = last {
            let place = self.take_place();
            self.slots.push_back(Slot { place, mail: Some(last) });
        }
        place
    }

    fn pop_restart(&mut self) -> Option<(Place, Mail)> {
        let Restart { place, mail, next } = *self.restarts.take()?;
        self.restarts = next;
        Some((place, mail))
    }

    /// Takes the first mail if `takes` accepts it; it is then in progress.
    pub fn pop_if(&mut self, takes: impl FnOnce(&Mail) -> bool) -> Option<Mail> {
        let first = match &self.restarts {
            Some(restart) => Some(&restart.mail),
            None => self.slots.front()?.mail.as_ref(),
        };
        if !first.is_some_and(takes) {
            return None;
        }
        let (place, mail) = match self.pop_restart() {
            Some(restart) => restart,
            None => {
                let Slot { place, mail } = self.slots.pop_front()?;
                self.skip_empty();
                (place, mail?)
            }
        };
        self.handled = Some(place);
        self.messages -= u32::from(matches!(mail, Mail::Message(..)));
        self.bytes -= mail.size();
        self.handled_bytes = mail.size();
        if self.runner == Runner::Parked {
            self.runner = Runner::OnWorker;
        }
        if matches!(mail, Mail::Shutdown(_)) {
            self.intake.end();
        }
        Some(mail)
    }

    /// Removes waiting mail from any place; returns it with the number of messages ahead of it.
    pub fn withdraw(&mut self, place: Place) -> Option<(Mail, usize)> {
        let at = self.slots.binary_search_by_key(&place, |slot| slot.place).ok()?;
        let mail = self.slots.get_mut(at)?.mail.take()?;
        let empty = match self.empty {
            0 => 0,
            _ => self.slots.iter().take(at.min(COUNTED)).filter(|slot| slot.mail.is_none()).count(),
        };
        let granted_only = self.runner.is_task() && self.handled_bytes == 0;
        let running = usize::from(self.is_busy() && !granted_only);
        self.messages -= u32::from(matches!(mail, Mail::Message(..)));
        self.bytes -= mail.size();
        self.traffic.dropped += u64::from(matches!(mail, Mail::Message(..)));
        self.empty += 1;
        self.skip_empty();
        if self.empty as usize > KEPT_EMPTY.max(self.len()) {
            self.slots.retain(|slot| slot.mail.is_some());
            self.empty = 0;
        }
        Some((mail, at - empty + running))
    }

    /// Restores the invariant that the first slot is not empty.
    fn skip_empty(&mut self) {
        while self.empty > 0 && self.slots.pop_front_if(|slot| slot.mail.is_none()).is_some() {
            self.empty -= 1;
        }
    }

    /// Releases memory; called on an empty queue. A queue that fills up again and again keeps its
    /// memory, even with single messages in between: a new allocation costs more than everything
    /// else about a message.
    pub fn give_memory_back(&mut self) {
        let capacity = self.slots.capacity();
        if capacity > KEPT_CAPACITY && (self.peak as usize) < capacity / 4 {
            self.slots = VecDeque::new();
        }
        self.peak -= self.peak.div_ceil(16);
    }

    /// Ends the mail in progress; returns whether to wake blocked senders.
    pub fn handled(&mut self) -> bool {
        self.handled_bytes = 0;
        self.handled = None;
        self.messages == 0 && std::mem::take(&mut self.waited_for)
    }

    /// Removes all waiting mail.
    pub fn take_all(&mut self) -> Vec<Mail> {
        self.traffic.dropped += u64::from(self.messages);
        self.messages = 0;
        self.bytes = 0;
        self.empty = 0;
        self.intake.end();
        let mut all = Vec::new();
        while let Some((_, restart)) = self.pop_restart() {
            all.push(restart);
        }
        all.extend(std::mem::take(&mut self.slots).into_iter().filter_map(|slot| slot.mail));
        all
    }

    /// Removes the oldest messages until one more of `size` fits, or none is left.
    pub fn make_room(&mut self, bounds: &MailboxBounds, account: &Account, size: u64) -> Vec<Mail> {
        let mut evicted = Vec::new();
        while self.full(bounds, account, size).is_some() {
            let is_message = |slot: &Slot| matches!(slot.mail, Some(Mail::Message(..)));
            let oldest = self.slots.iter().position(is_message);
            let slot = oldest.and_then(|at| self.slots.remove(at));
            let Some(mail) = slot.and_then(|slot| slot.mail) else { break };
            self.skip_empty();
            self.messages -= 1;
            self.bytes -= mail.size();
            self.traffic.dropped += 1;
            evicted.push(mail);
        }
        evicted
    }

    /// Takes the right to run for the receiver's task; returns whether to wake the task.
    pub fn grant(&mut self) -> bool {
        let wake = matches!(self.runner, Runner::Idle | Runner::Parked);
        if wake {
            self.runner = Runner::OnWorker;
        }
        wake
    }

    /// Returns whether the handler runs; a parked task only holds the right.
    pub fn is_busy(&self) -> bool {
        matches!(self.runner, Runner::OnCaller | Runner::OnWorker)
    }

    /// Checks that waiting senders will be notified and are not already due.
    #[cfg(test)]
    pub fn check_waiters(&self, bounds: &MailboxBounds, account: &Account) {
        assert!(
            self.waited_for && self.runner != Runner::Idle && self.intake == Intake::Open,
            "waiting senders will not be notified"
        );
        // With few bytes in all, there may be no room for a large message.
        let bytes_are_short = bounds.bytes.min(account.limit()) < 1 << 20;
        let has_room = self.messages as usize <= bounds.messages / 2;
        assert!(
            bytes_are_short || !has_room,
            "there is room, but waiting senders were not notified"
        );
    }

    /// Checks the bookkeeping and the bounds.
    #[cfg(test)]
    pub fn check(&self, bounds: &MailboxBounds, account: &Account) {
        let in_slots = || self.slots.iter().filter_map(|slot| slot.mail.as_ref());
        let mail = || in_slots().chain(self.restarts());
        let messages = || mail().filter(|mail| matches!(mail, Mail::Message(..)));
        assert_eq!(self.messages as usize, messages().count());
        assert_eq!(self.bytes, mail().map(Mail::size).sum::<u64>());
        assert_eq!(self.len(), mail().count());
        assert!(self.slots.front().is_none_or(|slot| slot.mail.is_some()));
        assert!(self.slots.iter().is_sorted_by(|one, next| one.place < next.place));
        assert!(self.slots.len() <= 2 * self.len() + KEPT_EMPTY, "empty slots add up");
        assert!(self.messages as usize <= bounds.messages.max(1), "{} messages", self.messages);
        let bytes: u64 = messages().map(Mail::size).sum();
        assert!(self.messages < 2 || bytes <= bounds.bytes, "{bytes} bytes of messages");
        // Mail from the host itself always fits; it may be the mail in progress.
        let asked = mail().filter(|mail| mail.message().is_none()).map(Mail::size).sum::<u64>();
        let asked = asked + Mail::Health(Reply::nobody()).size();
        let held = account.held_besides_mail() + self.held();
        assert!(held <= account.limit() + asked, "{held} bytes held of {}", account.limit());
        assert!(
            self.runner != Runner::Idle || self.is_empty(),
            "mail waits, and nobody has the right to run"
        );
    }
}
