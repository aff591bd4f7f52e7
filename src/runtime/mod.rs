//! Wasmtime: compiling, linking, instantiating and calling components.

pub mod block_on;
pub mod cache;
pub mod contract;
pub mod drive;
pub mod driver;
pub mod engine;
pub mod host;
pub mod instance;
pub mod lifting;
pub mod limiter;
pub mod loader;
pub mod off_fiber;
pub mod recent;
pub mod state;
pub mod task;
pub mod ticker;
pub mod timers;
pub mod trap;
pub mod wasi;
