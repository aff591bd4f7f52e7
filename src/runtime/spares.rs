//! What instances leave behind for others: to map memory anew for each would cost most of a start.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// How long a spare is kept for the next user.
const KEPT_FOR: Duration = Duration::from_secs(2);

/// A bounded number of spares, of which the latest is used first.
pub struct Spares<T> {
    most: usize,
    kept: Mutex<Vec<Kept<T>>>,
    /// Notified of the first spare.
    first: Notify,
}

struct Kept<T> {
    spare: T,
    since: Instant,
}

impl<T> Spares<T> {
    /// Keeps at most `most` spares.
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, kept: Mutex::default(), first: Notify::new() })
    }

    /// Takes the latest spare that suits.
    pub fn take(&self, suits: impl Fn(&T) -> bool) -> Option<T> {
        let mut kept = self.kept();
        let at = kept.iter().rposition(|kept| suits(&kept.spare))?;
        Some(kept.remove(at).spare)
    }

    /// Returns whether one more spare would be kept.
    pub fn has_room(&self) -> bool {
        self.kept().len() < self.most
    }

    /// Keeps a spare, if there is room.
    pub fn put(&self, spare: T) {
        let mut kept = self.kept();
        if kept.len() < self.most {
            kept.push(Kept { spare, since: Instant::now() });
            if kept.len() == 1 {
                self.first.notify_one();
            }
        }
    }

    /// Drops what was not used for a while; returns when to look again, if anything is left.
    fn drop_idle(&self, now: Instant) -> Option<Instant> {
        let mut kept = self.kept();
        let idle = |kept: &Kept<T>| now.saturating_duration_since(kept.since) >= KEPT_FOR;
        let fresh = kept.iter().position(|kept| !idle(kept)).unwrap_or(kept.len());
        let _dropped_unlocked: Vec<_> = kept.drain(..fresh).collect();
        let next = kept.first().map(|kept| kept.since + KEPT_FOR);
        drop(kept);
        next
    }

    /// Gives back what is not used for a while, for as long as it is polled.
    pub async fn give_back(self: Arc<Self>) {
        loop {
            let first = self.first.notified();
            match self.drop_idle(Instant::now()) {
                Some(next) => tokio::time::sleep_until(next.into()).await,
                None => first.await,
            }
        }
    }

    fn kept(&self) -> MutexGuard<'_, Vec<Kept<T>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_that_suits_is_used_first_and_the_number_is_bounded() {
        let spares = Spares::new(3);
        (1..=5).for_each(|spare| spares.put(spare));
        assert!(!spares.has_room());
        assert_eq!(spares.take(|spare| spare % 2 == 1), Some(3));
        assert!(spares.has_room());
        assert_eq!(spares.take(|_| true), Some(2));
        assert_eq!(spares.take(|spare| *spare == 9), None);
        assert_eq!(spares.take(|_| true), Some(1));
        assert_eq!(spares.take(|_| true), None);
    }

    #[test]
    fn what_is_not_used_is_given_back() {
        let spares = Spares::new(3);
        let now = Instant::now();
        assert_eq!(spares.drop_idle(now), None);
        spares.put(1);
        assert!(spares.drop_idle(now).is_some_and(|next| next > now));
        assert_eq!(spares.drop_idle(now + 2 * KEPT_FOR), None);
        assert_eq!(spares.take(|_| true), None);
    }
}
