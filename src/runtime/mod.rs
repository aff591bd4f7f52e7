//! Wasmtime: compiling, linking, instantiating and calling components.

pub mod block_on;
pub mod cache;
pub mod compiler;
pub mod contract;
pub mod drive;
pub mod driver;
pub mod engine;
pub mod give_back;
pub mod host;
pub mod instance;
pub mod kept;
pub mod limiter;
pub mod load_error;
pub mod loader;
pub mod off_fiber;
pub mod prepared;
pub mod priority;
pub mod recent;
pub mod screen;
pub mod state;
pub mod task;
pub mod ticker;
pub mod timers;
pub mod trap;
pub mod wasi;
pub mod workshop;
