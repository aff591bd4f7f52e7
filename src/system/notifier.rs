//! The notifier: delivers events to the host in the background, in order, from a bounded queue.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::system::callbacks::Callbacks;

/// An event for a notifier.
pub trait Item: Send + 'static {
    /// Returns the memory held, beyond the item's own size.
    fn bytes(&self) -> usize;

    /// Returns whether the item is dropped early, when half of the queue is full.
    fn is_minor(&self) -> bool;

    /// Returns the owner. One owner's items fill at most a quarter of the queue, its minor items at
    /// most an eighth; a single item may be larger. Owner 0 is exempt.
    fn owner(&self) -> usize;
}

/// The bounds of a queue. Further items are counted as lost.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bounds {
    /// The most items.
    pub items: usize,
    /// The most bytes.
    pub bytes: usize,
}

/// Counts of lost items.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Minor ones.
    pub minor: u64,
    /// Other items.
    pub major: u64,
}

/// A notification to the host.
pub enum Notice<T> {
    /// An item.
    Item(T),
    /// Items lost since the previous notification of losses.
    Lost(Lost),
}

/// Notifies a host that may be slow, without delaying anyone.
pub struct Notifier<T> {
    shared: Arc<Shared<T>>,
}

type Tell<T> = Box<dyn Fn(Notice<T>) + Send + Sync>;

struct Shared<T> {
    tell: Tell<T>,
    bounds: Bounds,
    callbacks: Callbacks,
    queue: Mutex<Queue<T>>,
}

struct Queue<T> {
    items: VecDeque<T>,
    bytes: usize,
    /// The share of each owner, separately for minor items.
    owned: HashMap<(usize, bool), Bounds>,
    /// Losses since the host was last notified of some.
    lost: Lost,
    /// The number of items queued before the first of those losses.
    before_lost: usize,
    lost_in_all: Lost,
    /// Whether a notification is in progress.
    telling: bool,
}

impl<T> Clone for Notifier<T> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<T: Item> Notifier<T> {
    /// Calls `tell`, which is host code, through `callbacks`, one call at a time.
    pub fn new(
        bounds: Bounds,
        callbacks: Callbacks,
        tell: impl Fn(Notice<T>) + Send + Sync + 'static,
    ) -> Self {
        let queue = Mutex::new(Queue {
            items: VecDeque::new(),
            bytes: 0,
            owned: HashMap::new(),
            lost: Lost::default(),
            before_lost: 0,
            lost_in_all: Lost::default(),
            telling: false,
        });
        Self { shared: Arc::new(Shared { tell: Box::new(tell), bounds, callbacks, queue }) }
    }

    /// Queues an item, or counts it as lost.
    pub fn push(&self, item: T) {
        let mut queue = self.shared.lock();
        let bounds = self.shared.bounds;
        let share = if item.is_minor() { 2 } else { 1 };
        let full = queue.items.len() >= bounds.items / share
            || queue.bytes + item.bytes() > bounds.bytes / share;
        let owner = (item.owner(), item.is_minor());
        let owned = queue.owned.get(&owner).copied().unwrap_or_default();
        // A single item may exceed the share if its owner has no other.
        let takes_too_much = owned.items >= bounds.items / (4 * share)
            || (owned.items > 0 && owned.bytes + item.bytes() > bounds.bytes / (4 * share));
        if full || (owner.0 != 0 && takes_too_much) {
            if queue.lost == Lost::default() {
                queue.before_lost = queue.items.len();
            }
            queue.lost.count(item.is_minor());
            queue.lost_in_all.count(item.is_minor());
            return;
        }
        queue.bytes += item.bytes();
        if owner.0 != 0 {
            let owned = queue.owned.entry(owner).or_default();
            owned.items += 1;
            owned.bytes += item.bytes();
        }
        queue.items.push_back(item);
        if !std::mem::replace(&mut queue.telling, true) {
            drop(queue);
            let shared = Arc::clone(&self.shared);
            self.shared.callbacks.submit_notice(move || shared.tell_all());
        }
    }

    /// Returns all losses since the start.
    pub fn all_lost(&self) -> Lost {
        self.shared.lock().lost_in_all
    }
}

impl<T: Item> Shared<T> {
    fn tell_all(&self) {
        while let Some(told) = self.next() {
            (self.tell)(told);
        }
    }

    fn next(&self) -> Option<Notice<T>> {
        let mut queue = self.lock();
        if queue.lost != Lost::default() && queue.before_lost == 0 {
            return Some(Notice::Lost(std::mem::take(&mut queue.lost)));
        }
        let Some(item) = queue.items.pop_front() else {
            queue.telling = false;
            return None;
        };
        queue.bytes -= item.bytes();
        queue.before_lost = queue.before_lost.saturating_sub(1);
        if let Entry::Occupied(mut owned) = queue.owned.entry((item.owner(), item.is_minor())) {
            owned.get_mut().items -= 1;
            owned.get_mut().bytes -= item.bytes();
            if owned.get().items == 0 {
                owned.remove();
            }
        }
        Some(Notice::Item(item))
    }
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, Queue<T>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lost {
    fn count(&mut self, minor: bool) {
        *if minor { &mut self.minor } else { &mut self.major } += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Note(u32, bool);

    impl Item for Note {
        fn bytes(&self) -> usize {
            10
        }

        fn is_minor(&self) -> bool {
            self.1
        }

        fn owner(&self) -> usize {
            (self.0 / 100) as usize
        }
    }

    #[test]
    fn minor_items_are_lost_first_and_all_losses_are_reported() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let (callbacks, heard) = (Callbacks::new(1), Arc::clone(&told));
        let bounds = Bounds { items: 4, bytes: 1000 };
        let notifier = Notifier::new(bounds, callbacks.clone(), move |what| {
            let word = match what {
                Notice::Item(Note(number, _)) => format!("{number}"),
                Notice::Lost(Lost { minor, major }) => format!("lost {minor} and {major}"),
            };
            heard.lock().unwrap().push(word);
        });
        for (number, minor) in [(1, true), (2, true), (3, true), (4, false), (5, false), (6, false)]
        {
            notifier.push(Note(number, minor));
        }
        callbacks.run_rest();
        assert_eq!(*told.lock().unwrap(), ["1", "2", "lost 1 and 1", "4", "5"]);
        assert_eq!(notifier.all_lost(), Lost { minor: 1, major: 1 });
        notifier.push(Note(7, true));
        callbacks.run_rest();
        assert_eq!(told.lock().unwrap().last().unwrap(), "7");
    }

    #[test]
    fn no_owner_takes_the_room_of_others() {
        let callbacks = Callbacks::new(1);
        let notifier = Notifier::new(Bounds { items: 8, bytes: 1000 }, callbacks.clone(), |_| ());
        for number in [100, 101, 102, 200, 201, 103] {
            notifier.push(Note(number, false));
        }
        assert_eq!(notifier.all_lost(), Lost { minor: 0, major: 2 });
        callbacks.run_rest();
        notifier.push(Note(104, false));
        assert_eq!(notifier.all_lost().major, 2);
    }

    #[test]
    fn bytes_count_too() {
        let callbacks = Callbacks::new(1);
        let notifier = Notifier::new(Bounds { items: 9, bytes: 25 }, callbacks.clone(), |_| ());
        for number in 0..3 {
            notifier.push(Note(number, false));
        }
        assert_eq!(notifier.all_lost(), Lost { minor: 0, major: 1 });
        callbacks.run_rest();
        notifier.push(Note(4, false));
        assert_eq!(notifier.all_lost().major, 1);
    }
}
