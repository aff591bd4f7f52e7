//! The mail that waits in a mailbox, and what is known of whoever works it off.

use std::collections::VecDeque;
use std::num::NonZeroU64;

use crate::core::account::Account;
use crate::core::limits::{MailboxBound, MailboxBounds};
use crate::messaging::mail::Mail;
#[cfg(test)]
use crate::messaging::reply::Reply;

/// A queue that has room for more than this gives its memory back when little of it is used.
const KEPT_CAPACITY: usize = 256;

/// So many empty slots may be among those of mail that waits, or else as many as there is mail.
const KEPT_EMPTY: usize = 32;

/// How far mail is counted that was before some other; what is behind that counts as if none had
/// been withdrawn.
const COUNTED: usize = 1024;

/// What has gone through a mailbox.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Messages accepted.
    pub accepted: u64,
    /// Messages refused.
    pub refused: u64,
    /// Messages accepted and never handled.
    pub dropped: u64,
}

/// The place of mail in its mailbox, which no other mail has at any time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place(NonZeroU64);

struct Slot {
    place: Place,
    /// `None` once it was withdrawn: taking the slot out would move the others.
    mail: Option<Mail>,
}

/// What a mailbox holds under its lock.
pub struct Queue {
    /// In the order of their places. The first is not empty.
    slots: VecDeque<Slot>,
    /// How many slots are empty.
    empty: u32,
    next_place: Place,
    /// How many of the mail are messages, which alone count against the capacity.
    messages: usize,
    /// What the mail takes, callbacks included.
    bytes: u64,
    /// What the mail takes that is being handled.
    handled_bytes: u64,
    /// What is being handled.
    handled: Option<Place>,
    /// Somebody holds the right to run.
    pub running: bool,
    /// It is the receiver's task, or was granted to it.
    pub by_task: bool,
    pub closed: bool,
    /// There will be no mail any more: the receiver's task may end.
    pub ended: bool,
    /// The last mail waits behind others, before which the answers to the owner's own requests
    /// are still accepted.
    pub draining: bool,
    /// The most mail that it held, less with each time that it was empty since.
    peak: u32,
    /// Senders wait for room.
    pub waited_for: bool,
    /// The receiver's task has the right to run and waits for mail with it, see
    /// [`Mailbox::poll_kept`](crate::messaging::mailbox::Mailbox::poll_kept).
    pub parked: bool,
    /// For so many messages it does not wait with the right, as others had use for that.
    pub unparked_for: u8,
    pub traffic: Traffic,
}

impl Queue {
    /// An empty one; the right to run is held.
    pub fn held_by_its_maker() -> Self {
        Self {
            slots: VecDeque::new(),
            empty: 0,
            next_place: Place(NonZeroU64::MIN),
            messages: 0,
            bytes: 0,
            handled_bytes: 0,
            handled: None,
            running: true,
            by_task: false,
            closed: false,
            ended: false,
            draining: false,
            peak: 0,
            waited_for: false,
            parked: false,
            unparked_for: 0,
            traffic: Traffic::default(),
        }
    }

    /// How much mail waits.
    pub fn len(&self) -> usize {
        self.slots.len() - self.empty as usize
    }

    /// Whether none does.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// What the mail takes that waits.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What leaves no room for a message of `size`; one of any size fits where no other waits, as far as
    /// the account goes.
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
        } else if self.messages >= bounds.messages {
            Some(MailboxBound::Messages(bounds.messages))
        } else {
            let fits = self.bytes.saturating_add(size) <= bounds.bytes;
            (!fits).then_some(MailboxBound::Bytes(bounds.bytes))
        }
    }

    /// What the host holds because of this mailbox.
    pub fn held(&self) -> u64 {
        self.bytes + self.handled_bytes
    }

    /// Whether senders that wait get their turn: one at each message would have them wake for it.
    pub fn gives_turns(&mut self, bounds: &MailboxBounds) -> bool {
        let is_half_empty = self.messages <= bounds.messages / 2 && self.bytes <= bounds.bytes / 2;
        is_half_empty && std::mem::take(&mut self.waited_for)
    }

    /// Puts mail behind all other.
    pub fn push(&mut self, mail: Mail, size: u64) -> Place {
        let place = self.take_place();
        self.messages += usize::from(matches!(mail, Mail::Message(..)));
        self.bytes += size;
        self.slots.push_back(Slot { place, mail: Some(mail) });
        self.peak = self.peak.max(u32::try_from(self.slots.len()).unwrap_or(u32::MAX));
        place
    }

    fn take_place(&mut self) -> Place {
        let place = self.next_place;
        self.next_place = Place(place.0.saturating_add(1));
        place
    }

    /// Takes the right to run for mail that never waits; its place.
    pub fn run_at_once(&mut self) -> Place {
        let place = self.take_place();
        self.running = true;
        self.handled = Some(place);
        place
    }

    /// Whether the mail of that place is being handled.
    pub fn handles(&self, place: Place) -> bool {
        self.handled == Some(place)
    }

    /// Puts mail before the last.
    pub fn push_before_last(&mut self, mail: Mail, size: u64) -> Place {
        let last = self.slots.pop_back().and_then(|slot| slot.mail);
        let place = self.push(mail, size);
        if let Some(last) = last {
            let place = self.take_place();
            self.slots.push_back(Slot { place, mail: Some(last) });
        }
        place
    }

    /// The first mail, if `takes` says so: it is being handled from now on.
    pub fn pop_if(&mut self, takes: impl FnOnce(&Mail) -> bool) -> Option<Mail> {
        let first = self.slots.front()?.mail.as_ref();
        if !first.is_some_and(takes) {
            return None;
        }
        let Slot { place, mail } = self.slots.pop_front()?;
        let mail = mail?;
        self.handled = Some(place);
        self.skip_empty();
        self.messages -= usize::from(matches!(mail, Mail::Message(..)));
        self.bytes -= mail.size();
        self.handled_bytes = mail.size();
        self.draining &= !matches!(mail, Mail::Shutdown(_));
        Some(mail)
    }

    /// Takes mail out that waits, from wherever it is; also how much there was before it.
    pub fn withdraw(&mut self, place: Place) -> Option<(Mail, usize)> {
        let at = self.slots.binary_search_by_key(&place, |slot| slot.place).ok()?;
        let mail = self.slots.get_mut(at)?.mail.take()?;
        let empty = match self.empty {
            0 => 0,
            _ => self.slots.iter().take(at.min(COUNTED)).filter(|slot| slot.mail.is_none()).count(),
        };
        let granted_only = self.by_task && self.handled_bytes == 0;
        let running = usize::from(self.is_busy() && !granted_only);
        self.messages -= usize::from(matches!(mail, Mail::Message(..)));
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

    /// Keeps the first slot from being empty.
    fn skip_empty(&mut self) {
        while self.empty > 0 && self.slots.pop_front_if(|slot| slot.mail.is_none()).is_some() {
            self.empty -= 1;
        }
    }

    /// Called when it is empty. A queue that is flooded time and again keeps its memory, even if
    /// single messages come in between: taking it anew costs more than all the rest of a message.
    pub fn give_memory_back(&mut self) {
        let capacity = self.slots.capacity();
        if capacity > KEPT_CAPACITY && (self.peak as usize) < capacity / 4 {
            self.slots = VecDeque::new();
        }
        self.peak -= self.peak.div_ceil(16);
    }

    /// Nothing is being handled any more; whether senders that wait get their turn.
    pub fn handled(&mut self) -> bool {
        self.handled_bytes = 0;
        self.handled = None;
        self.messages == 0 && std::mem::take(&mut self.waited_for)
    }

    /// Takes out all that waits.
    pub fn take_all(&mut self) -> Vec<Mail> {
        self.traffic.dropped += self.messages as u64;
        self.messages = 0;
        self.bytes = 0;
        self.empty = 0;
        self.draining = false;
        std::mem::take(&mut self.slots).into_iter().filter_map(|slot| slot.mail).collect()
    }

    /// Takes the oldest messages out until one more of `size` fits, or none is left.
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

    /// Takes the right to run for the receiver's task; whether that is to be woken.
    pub fn grant(&mut self) -> bool {
        let idle = !std::mem::replace(&mut self.running, true);
        self.by_task |= idle;
        std::mem::take(&mut self.parked) || idle
    }

    /// Whether somebody runs, and not only has the right to.
    pub fn is_busy(&self) -> bool {
        self.running && !self.parked
    }

    /// Checks that senders that wait for room will be told, and have no reason to be told by now.
    #[cfg(test)]
    pub fn check_waiters(&self, bounds: &MailboxBounds, account: &Account) {
        assert!(self.waited_for && self.running && !self.closed, "who waits for room is not told");
        // Where bytes are short, there may be none for a large message.
        let bytes_are_short = bounds.bytes.min(account.limit()) < 1 << 20;
        let has_room = self.messages <= bounds.messages / 2;
        assert!(bytes_are_short || !has_room, "there is room, and who waits for it is not told");
    }

    /// Checks that what it knows of its mail is true, and within bounds.
    #[cfg(test)]
    pub fn check(&self, bounds: &MailboxBounds, account: &Account) {
        let mail = || self.slots.iter().filter_map(|slot| slot.mail.as_ref());
        let messages = || mail().filter(|mail| matches!(mail, Mail::Message(..)));
        assert_eq!(self.messages, messages().count());
        assert_eq!(self.bytes, mail().map(Mail::size).sum::<u64>());
        assert_eq!(self.len(), mail().count());
        assert!(self.slots.front().is_none_or(|slot| slot.mail.is_some()));
        assert!(self.slots.iter().is_sorted_by(|one, next| one.place < next.place));
        assert!(self.slots.len() <= 2 * self.len() + KEPT_EMPTY, "empty slots add up");
        assert!(self.messages <= bounds.messages.max(1), "{} messages", self.messages);
        let bytes: u64 = messages().map(Mail::size).sum();
        assert!(self.messages < 2 || bytes <= bounds.bytes, "{bytes} bytes of messages");
        // What its host asks of it has room always; perhaps it is that what is being handled.
        let asked = mail().filter(|mail| mail.message().is_none()).map(Mail::size).sum::<u64>();
        let asked = asked + Mail::Health(Reply::nobody()).size();
        let held = account.held_besides_mail() + self.held();
        assert!(held <= account.limit() + asked, "{held} bytes held of {}", account.limit());
        assert!(
            self.running || self.slots.is_empty(),
            "mail waits, and nobody has the right to run"
        );
    }
}
