//! The parts of the library that have a model, compiled with loom's primitives.
//! The models are in `tests`.

#[cfg_attr(not(feature = "loom"), path = "real_sync.rs")]
pub mod sync;

/// Tries the orders of threads with at most this many preemptions, where `loom::model` would take
/// minutes to try all. `LOOM_MAX_PREEMPTIONS` replaces the bound.
#[cfg(feature = "loom")]
pub fn bounded_model(preemptions: usize, run: impl Fn() + Send + Sync + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = model.preemption_bound.or(Some(preemptions));
    model.check(run);
}

#[path = "../../../src/core"]
pub mod core {
    pub mod account;
    pub mod clock;
    pub mod codec;
    pub mod error;
    pub mod id;
    pub mod interrupts;
    pub mod limits;
    pub mod message;
    pub mod payload;
    pub mod ports;
    pub mod wait_graph;
    pub mod caller_watch;

    pub use crate::sync;
}

#[cfg(feature = "loom")]
#[path = "../../../src/messaging"]
pub mod messaging {
    pub mod group_restart;
    pub mod mail;
    pub mod mailbox;
    pub mod queue;
    pub mod reply;

    /// Takes the place of the table of requests: no model has a request.
    pub mod pending_requests {
        use crate::core::message::Outcome;

        pub enum PendingRequests {}

        pub enum Ticket {}

        impl PendingRequests {
            pub fn complete(&self, _: Ticket, _: Outcome) {
                match *self {}
            }
        }
    }
}

#[cfg(feature = "loom")]
#[path = "../../../src/runtime"]
pub mod runtime {
    pub mod idle_sleep;
}

#[path = "../../../src/ffi"]
pub mod ffi {
    pub mod rundown;
}
