//! Attempts of hostile guests: each is denied, each denial is in the audit, and the neighbours go on.
//! Beside each family of attempts stands what is granted and works, so that nothing passes by failing.

mod stage;

mod ambient;
mod closed;
mod files;
mod forging;
mod granting;
mod holding;
mod host_memory;
mod host_time;
mod ids;
mod late;
mod learning;
mod malformed;
mod messaging;
mod network;
mod quotas;
mod raw;
mod records;
mod rights;
mod storage;
mod streams;
