//! Lets concurrent callers share one piece of work: each becomes part of a batch, and one of them,
//! the leader, does the batch.
//!
//! A caller that comes alone leads at once, without waiting for a thread. Callers that come while a
//! batch is being done wait in line; at its end the first of them leads the next batch, with all
//! that wait by then.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What is done in batches.
pub trait Shareable {
    /// The result for each caller.
    type Outcome;

    /// Returns the size of this in a batch; `None` if it is done alone.
    fn weight(&self) -> Option<u64>;

    /// Returns the result of work that was never done, because its leader panicked.
    fn abandoned() -> Self::Outcome;
}

/// The callers of a piece of work.
pub struct Turns<W: Shareable> {
    line: Mutex<Line<W>>,
    /// The most weight of a batch.
    most: u64,
}

struct Line<W: Shareable> {
    /// Whether there is a leader. Without one nobody waits.
    is_led: bool,
    waiting: VecDeque<Waiting<W>>,
}

struct Waiting<W: Shareable> {
    work: W,
    tell: oneshot::Sender<Turn<W>>,
}

/// What a caller in line is told.
enum Turn<W: Shareable> {
    /// It leads, beginning with its own work.
    Lead(W),
    /// Its work was done by another.
    Done(W::Outcome),
}

impl<W: Shareable> Turns<W> {
    /// Creates an empty line.
    pub fn new(most: u64) -> Self {
        Self { line: Mutex::new(Line { is_led: false, waiting: VecDeque::new() }), most }
    }

    /// Does a piece of work, alone or with that of others. `lead` does a batch and returns the
    /// outcomes in the same order.
    pub fn take(&self, work: W, lead: impl FnOnce(Vec<W>) -> Vec<W::Outcome>) -> W::Outcome {
        let mut line = self.lock();
        let first = if line.is_led {
            let (tell, told) = oneshot::channel();
            line.waiting.push_back(Waiting { work, tell });
            drop(line);
            match told.recv() {
                Ok(Turn::Lead(work)) => work,
                Ok(Turn::Done(outcome)) => return outcome,
                Err(_) => return W::abandoned(),
            }
        } else {
            line.is_led = true;
            drop(line);
            work
        };
        let lead_on = LeadOn(self);
        let (batch, others) = self.gather(first);
        let mut outcomes = lead(batch).into_iter();
        let own = outcomes.next();
        // The next batch begins before this one's callers wake.
        drop(lead_on);
        for (tell, outcome) in others.into_iter().zip(outcomes) {
            // A caller waits until it is told.
            _ = tell.send(Turn::Done(outcome));
        }
        own.unwrap_or_else(W::abandoned)
    }

    /// Takes from the line what fits in a batch with the leader's work.
    fn gather(&self, first: W) -> (Vec<W>, Vec<oneshot::Sender<Turn<W>>>) {
        let (mut batch, mut others) = (Vec::new(), Vec::new());
        let mut weight = first.weight();
        batch.push(first);
        let mut line = self.lock();
        while let (Some(before), Some(next)) = (weight, line.waiting.front()) {
            let Some(more) = next.work.weight() else { break };
            weight = before.checked_add(more);
            if weight.is_none_or(|sum| sum > self.most) {
                break;
            }
            if let Some(Waiting { work, tell }) = line.waiting.pop_front() {
                batch.push(work);
                others.push(tell);
            }
        }
        (batch, others)
    }

    fn lock(&self) -> MutexGuard<'_, Line<W>> {
        // No code under the lock leaves the line half-changed.
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Passes the lead to the next caller in line, also if a batch panicked.
struct LeadOn<'a, W: Shareable>(&'a Turns<W>);

impl<W: Shareable> Drop for LeadOn<'_, W> {
    fn drop(&mut self) {
        let mut line = self.0.lock();
        while let Some(Waiting { work, tell }) = line.waiting.pop_front() {
            if tell.send(Turn::Lead(work)).is_ok() {
                return;
            }
        }
        line.is_led = false;
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::thread;

    use super::*;

    #[derive(Debug, PartialEq)]
    enum Job {
        Shared(u64),
        Alone(u64),
    }

    impl Shareable for Job {
        type Outcome = Option<u64>;

        fn weight(&self) -> Option<u64> {
            match self {
                Self::Shared(_) => Some(1),
                Self::Alone(_) => None,
            }
        }

        fn abandoned() -> Option<u64> {
            None
        }
    }

    fn outcomes(batch: &[Job]) -> Vec<Option<u64>> {
        batch.iter().map(|(Job::Shared(n) | Job::Alone(n))| Some(*n)).collect()
    }

    /// A line with one leader in the middle of its batch, until `go_on` is told.
    struct Busy {
        turns: Arc<Turns<Job>>,
        go_on: Sender<()>,
        leader: thread::JoinHandle<Option<u64>>,
    }

    fn busy(most: u64) -> Busy {
        let turns = Arc::new(Turns::new(most));
        let ((begun, has_begun), (go_on, may_go_on)): (_, (_, Receiver<()>)) =
            (channel(), channel());
        let line = Arc::clone(&turns);
        let leader = thread::spawn(move || {
            line.take(Job::Shared(0), |batch| {
                begun.send(()).unwrap();
                may_go_on.recv().unwrap();
                outcomes(&batch)
            })
        });
        has_begun.recv().unwrap();
        Busy { turns, go_on, leader }
    }

    impl Busy {
        /// Lets jobs wait in line, in order, then runs all; returns the batches.
        fn run(self, jobs: Vec<Job>) -> Vec<Vec<Job>> {
            let (tell, told) = channel();
            let callers: Vec<_> = jobs
                .into_iter()
                .enumerate()
                .map(|(before, job)| {
                    let (turns, tell) = (Arc::clone(&self.turns), tell.clone());
                    let (Job::Shared(n) | Job::Alone(n)) = job;
                    let caller = thread::spawn(move || {
                        let outcome = turns.take(job, |batch| {
                            let outcomes = outcomes(&batch);
                            tell.send(batch).unwrap();
                            outcomes
                        });
                        assert_eq!(outcome, Some(n), "each caller gets its own outcome");
                    });
                    while self.turns.lock().waiting.len() == before {
                        thread::yield_now();
                    }
                    caller
                })
                .collect();
            drop(tell);
            self.go_on.send(()).unwrap();
            assert_eq!(self.leader.join().unwrap(), Some(0));
            callers.into_iter().for_each(|caller| caller.join().unwrap());
            assert!(!self.turns.lock().is_led);
            told.into_iter().collect()
        }
    }

    #[test]
    fn those_that_wait_share_a_batch_up_to_its_most_weight() {
        let jobs = (1..=5).map(Job::Shared).collect();
        let of = |range: std::ops::RangeInclusive<u64>| range.map(Job::Shared).collect::<Vec<_>>();
        assert_eq!(busy(2).run(jobs), [of(1..=2), of(3..=4), of(5..=5)]);
    }

    #[test]
    fn work_that_is_done_alone_keeps_its_place_in_line() {
        let jobs = vec![Job::Shared(1), Job::Alone(2), Job::Shared(3), Job::Shared(4)];
        let batches = busy(100).run(jobs);
        let [one, two, three] = &batches[..] else { panic!("{batches:?}") };
        assert_eq!(one, &[Job::Shared(1)]);
        assert_eq!(two, &[Job::Alone(2)]);
        assert_eq!(three, &[Job::Shared(3), Job::Shared(4)]);
    }

    #[test]
    fn a_panic_of_the_leader_ends_its_batch_and_not_the_line() {
        let turns = Turns::new(100);
        let panicked = catch_unwind(AssertUnwindSafe(|| turns.take(Job::Shared(1), |_| panic!())));
        assert!(panicked.is_err());
        assert_eq!(turns.take(Job::Shared(2), |batch| outcomes(&batch)), Some(2));
    }

    #[test]
    fn every_caller_of_a_crowd_is_served_once() {
        let (turns, done) = (Turns::new(16), AtomicUsize::new(0));
        thread::scope(|scope| {
            for caller in 0..16 {
                let (turns, done) = (&turns, &done);
                scope.spawn(move || {
                    for n in 0..500 {
                        let own = caller * 1000 + n;
                        let outcome = turns.take(Job::Shared(own), |batch| {
                            done.fetch_add(batch.len(), Ordering::Relaxed);
                            outcomes(&batch)
                        });
                        assert_eq!(outcome, Some(own));
                    }
                });
            }
        });
        assert_eq!(done.into_inner(), 16 * 500);
    }
}
