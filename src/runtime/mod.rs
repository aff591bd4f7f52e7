//! Wasmtime: compiling, linking, instantiating and calling components.

pub mod background;
pub mod binary_cache;
pub mod block_on;
pub mod cache;
pub mod call_end;
pub mod call_error;
pub mod compiler;
pub mod contract;
pub mod driver;
pub mod engine;
pub mod fiber_stack;
pub mod give_back;
pub mod guest_call;
pub mod host;
pub mod host_context;
pub mod idle_sleep;
pub mod instance;
pub mod lifting;
pub mod limiter;
pub mod load_error;
pub mod loader;
pub mod mappings;
pub mod off_fiber;
pub mod pace;
pub mod packed_memory;
pub mod platform;
pub mod prepared;
pub mod priority;
pub mod recent_binaries;
#[cfg(target_os = "linux")]
pub mod reserved_memory;
pub mod scheduler;
pub mod screen;
pub mod shortage;
pub mod signals;
#[cfg(test)]
mod simulation;
pub mod slice;
pub mod spares;
pub mod state;
pub mod threads;
pub mod ticker;
pub mod turns;
pub mod wasi;
pub mod workshop;
