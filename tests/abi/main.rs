//! Tests through the C ABI, as a host sees it.

mod harness;
mod hosts;
mod partners;
mod published;

mod bad_input;
mod callbacks;
mod contract;
mod ending;
mod host_requests;
mod lifecycle;
mod limits;
mod loader;
mod mailboxes;
mod messaging;
mod misbehaving;
mod requests;
mod services;
mod stopping;
mod storage;
mod threads;
mod wasi;
