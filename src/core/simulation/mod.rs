//! Common parts of the simulations: a seed decides everything, and every failure names its seed.

pub mod episodes;
pub mod random;
pub mod trace;
