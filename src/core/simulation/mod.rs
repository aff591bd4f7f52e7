//! What simulations have in common: a seed decides all that happens, and any failure names it.

pub mod episodes;
pub mod random;
pub mod trace;
