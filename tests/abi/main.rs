//! Tests through the C ABI, as a host sees it.

mod harness;
mod hosts;
mod partners;
mod properties;
mod published;

mod bad_input;
mod callbacks;
mod caller_stack;
mod codecs;
mod contract;
mod ending;
mod escape;
mod explaining;
mod host_requests;
mod leaks;
mod lifecycle;
mod limits;
mod loader;
mod mailboxes;
mod messaging;
mod misbehaving;
mod order;
mod outcomes;
mod pools;
mod requests;
mod routing;
mod schema;
mod services;
mod stats;
mod stopping;
mod storage;
mod stress;
mod threads;
mod waiting;
mod wasi;
