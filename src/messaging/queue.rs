//! The waiting mail of a mailbox, and the state of its handler.

use std::collections::VecDeque;
use std::num::NonZeroU64;

use crate::core::account::Account;
use crate::core::limits::{MailboxBound, MailboxBounds};
use crate::messaging::mail::{Mail, Refusal};
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
    /// The receiver's task, which lets mail wait for a while, see
    /// [`Mailbox::rest`](crate::messaging::mailbox::Mailbox::rest).
    Resting,
    /// As [`Runner::Resting`], until the others of its group have ended as well.
    Grouped,
}

impl Runner {
    /// Whether the receiver's task holds the right.
    pub fn is_task(self) -> bool {
        matches!(self, Self::OnWorker | Self::Parked | Self::Resting | Self::Grouped)
    }
}

/// What a mailbox accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Intake {
    /// All mail.
    Open,
    /// Outcomes of the owner's requests: a stop waits behind the other mail.
    Stopping,
    /// A start only: a stop waits for the mail in progress.
    Ending,
    /// A start only.
    Stopped,
    /// A start only: the owner has failed too often.
    Failed,
    /// Outcomes of the owner's requests: the last mail waits behind others. Never opens again.
    Closing,
    /// Nothing. The receiver's task ends with the mail that waits.
    Closed,
    /// Nothing, and no last mail comes: the receiver's task ends with the workers.
    Abandoned,
}

impl Intake {
    /// Returns the reason to refuse mail other than outcomes of the owner's requests.
    pub fn refusal(self) -> Option<Refusal> {
        match self {
            Self::Open => None,
            Self::Stopping | Self::Ending | Self::Stopped => Some(Refusal::Stopped),
            Self::Failed => Some(Refusal::Failed),
            Self::Closing | Self::Closed | Self::Abandoned => Some(Refusal::Closed),
        }
    }

    /// Returns whether outcomes of the owner's requests are accepted.
    pub fn takes_outcomes(self) -> bool {
        matches!(self, Self::Open | Self::Stopping | Self::Closing)
    }

    /// Returns whether the mailbox never opens again.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Closing | Self::Closed | Self::Abandoned)
    }

    /// A stop, or the last mail, was taken.
    fn end(&mut self, by: &Mail) {
        *self = match (*self, by) {
            (Self::Stopping | Self::Ending, Mail::Stop(_)) => Self::Stopped,
            (Self::Closing, Mail::Shutdown(_)) => Self::Closed,
            (same, _) => same,
        };
    }
}

struct Slot {
    place: Place,
    /// `None` once withdrawn: removing the slot would move the others.
    mail: Option<Mail>,
}

/// Mail about the life cycle. It is rare, so it gets little room in a queue.
#[derive(Default)]
struct Control {
    /// Comes before all other mail.
    first: VecDeque<(Place, Mail)>,
    /// Comes after all other mail.
    last: VecDeque<(Place, Mail)>,
}

impl Control {
    fn all(&self) -> impl Iterator<Item = &Mail> {
        self.first.iter().chain(&self.last).map(|(_, mail)| mail)
    }
}

/// The state under a mailbox's lock.
pub struct Queue {
    /// Sorted by place. The first slot is never empty.
    slots: VecDeque<Slot>,
    /// `None` if there is none.
    control: Option<Box<Control>>,
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
            control: None,
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
        self.slots.len() - self.empty as usize + self.control().count()
    }

    /// Returns whether no mail waits.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty() && self.control.is_none()
    }

    fn control(&self) -> impl Iterator<Item = &Mail> {
        self.control.as_deref().into_iter().flat_map(Control::all)
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

    /// Adds mail, behind other mail of its kind.
    pub fn push(&mut self, mail: Mail, size: u64) -> Place {
        let place = self.take_place();
        self.messages += u32::from(matches!(mail, Mail::Message(..)));
        self.bytes += size;
        match mail {
            Mail::Restart(_)
            | Mail::Recovery(_)
            | Mail::Regroup(_)
            | Mail::Recycle
            | Mail::Save
            | Mail::Replace(_)
            | Mail::Judge => {
                self.control.get_or_insert_default().first.push_back((place, mail));
            }
            Mail::Stop(_) | Mail::Start(_) | Mail::Shutdown(_) => {
                self.control.get_or_insert_default().last.push_back((place, mail));
            }
            Mail::Message(..)
            | Mail::Callback(_)
            | Mail::Health(_)
            | Mail::Probe
            | Mail::Passivate => {
                self.slots.push_back(Slot { place, mail: Some(mail) });
                self.peak = self.peak.max(u32::try_from(self.slots.len()).unwrap_or(u32::MAX));
            }
        }
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

    /// Returns the next mail.
    fn front(&self) -> Option<&Mail> {
        let control = self.control.as_deref();
        if let Some((_, mail)) = control.and_then(|control| control.first.front()) {
            return Some(mail);
        }
        match self.slots.front() {
            Some(slot) => slot.mail.as_ref(),
            None => control?.last.front().map(|(_, mail)| mail),
        }
    }

    #[cold]
    fn pop_control(&mut self, mut control: Box<Control>) -> Option<(Place, Mail)> {
        let from = if !control.first.is_empty() || !self.slots.is_empty() {
            &mut control.first
        } else {
            &mut control.last
        };
        let taken = from.pop_front();
        if !(control.first.is_empty() && control.last.is_empty()) {
            self.control = Some(control);
        }
        taken
    }

    fn pop(&mut self) -> Option<(Place, Mail)> {
        if let Some(control) = self.control.take()
            && let Some(taken) = self.pop_control(control)
        {
            return Some(taken);
        }
        let Slot { place, mail } = self.slots.pop_front()?;
        self.skip_empty();
        Some((place, mail?))
    }

    /// Takes the first mail if `takes` accepts it; it is then in progress.
    pub fn pop_if(&mut self, takes: impl FnOnce(&Mail) -> bool) -> Option<Mail> {
        if !self.front().is_some_and(takes) {
            return None;
        }
        let (place, mail) = self.pop()?;
        self.handled = Some(place);
        self.messages -= u32::from(matches!(mail, Mail::Message(..)));
        self.bytes -= mail.size();
        self.handled_bytes = mail.size();
        if self.runner == Runner::Parked {
            self.runner = Runner::OnWorker;
        }
        self.intake.end(&mail);
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
        if self.intake == Intake::Closing {
            self.intake = Intake::Closed;
        }
        self.take_all_but(|_| false)
    }

    /// Removes all waiting mail but mail that comes before all other and for which `stays` returns
    /// true.
    pub fn take_all_but(&mut self, stays: impl Fn(&Mail) -> bool) -> Vec<Mail> {
        let Control { first, last } = *self.control.take().unwrap_or_default();
        let (stay, go): (VecDeque<_>, VecDeque<_>) =
            first.into_iter().partition(|(_, mail)| stays(mail));
        if !stay.is_empty() {
            self.control = Some(Box::new(Control { first: stay, last: VecDeque::new() }));
        }
        let mut all: Vec<_> = go.into_iter().map(|(_, mail)| mail).collect();
        all.extend(self.take_slots());
        all.extend(last.into_iter().map(|(_, mail)| mail));
        all
    }

    /// Removes mail about the life cycle from its place.
    pub fn retract(&mut self, place: Place) -> Option<Mail> {
        let mut control = self.control.take()?;
        let Control { first, last } = &mut *control;
        let at = |of: &VecDeque<(Place, Mail)>| of.iter().position(|(at, _)| *at == place);
        let removed = match at(first) {
            Some(at) => first.remove(at),
            None => at(last).and_then(|at| last.remove(at)),
        };
        if !(first.is_empty() && last.is_empty()) {
            self.control = Some(control);
        }
        let (_, mail) = removed?;
        self.bytes -= mail.size();
        Some(mail)
    }

    /// Removes all waiting mail but that about the life cycle.
    pub fn take_slots(&mut self) -> Vec<Mail> {
        self.traffic.dropped += u64::from(self.messages);
        self.messages = 0;
        self.empty = 0;
        self.bytes = self.control().map(Mail::size).sum();
        std::mem::take(&mut self.slots).into_iter().filter_map(|slot| slot.mail).collect()
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
        let wake = match self.runner {
            Runner::Idle | Runner::Parked => true,
            rest @ (Runner::Resting | Runner::Grouped) => self.ends_rest(rest),
            Runner::OnCaller | Runner::OnWorker => false,
        };
        if wake {
            self.runner = Runner::OnWorker;
        }
        wake
    }

    /// Returns whether mail waits that a task must not let wait in this kind of rest.
    pub fn ends_rest(&self, rest: Runner) -> bool {
        let regroups =
            || rest == Runner::Resting && self.control().any(|it| matches!(it, Mail::Regroup(_)));
        self.intake != Intake::Open || self.host_acts() || regroups()
    }

    /// Returns whether a restart by the host waits.
    pub fn awaits_restart(&self) -> bool {
        self.control().any(|mail| matches!(mail, Mail::Restart(_)))
    }

    /// Returns whether mail of the host waits that gives the owner another instance, or none.
    fn host_acts(&self) -> bool {
        self.control().any(|mail| {
            matches!(mail, Mail::Restart(_) | Mail::Replace(_) | Mail::Stop(_) | Mail::Start(_))
        })
    }

    /// Returns whether the handler runs; a parked or resting task only holds the right.
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
        let mail = || in_slots().chain(self.control());
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
