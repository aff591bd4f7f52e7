//! The configuration of a thread pool.

/// The configuration of a thread pool.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The name of its threads.
    pub name: &'static str,
    /// The most threads.
    pub most: usize,
    /// When threads are added.
    pub growth: Growth,
    /// Whether guests may run on the threads.
    pub runs_guests: bool,
}

/// When a pool adds a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Growth {
    /// As soon as a job finds no free thread.
    ForEachJob,
    /// Up to this many at once. Beyond it the pool grows while all threads are busy and no job
    /// ends, by twice as many each turn. While jobs do end, more threads would only get in each
    /// other's way.
    Patient(usize),
}
