//! Tests through the C ABI, as a host sees it.

mod harness;
mod hosts;
mod partners;
mod published;

mod bad_input;
mod callbacks;
mod codecs;
mod contract;
mod ending;
mod host_requests;
mod leaks;
mod lifecycle;
mod limits;
mod loader;
mod mailboxes;
mod messaging;
mod misbehaving;
mod pools;
mod requests;
mod routing;
mod services;
mod stats;
mod stopping;
mod storage;
mod threads;
mod wasi;
