//! What threads a pool has, and when they come.

/// What threads a pool has.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Their name.
    pub name: &'static str,
    /// The most that there are.
    pub most: usize,
    /// When they come.
    pub growth: Growth,
    /// Whether guests may run on them.
    pub runs_guests: bool,
}

/// When a pool gets another thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Growth {
    /// As soon as a job finds none free.
    ForEachJob,
    /// So many soon; more where all are in jobs and none ends, twice as many each turn. Where they do
    /// end, more threads would only be in each other's way.
    Patient(usize),
}
