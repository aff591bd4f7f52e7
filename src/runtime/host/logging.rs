//! `wasi:logging`, on the log.

use std::sync::Arc;

use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentType, Lift, Linker};

use crate::core::bounds::{MAX_LOG_PAIR_BYTES, MAX_LOG_TEXT_BYTES};
use crate::core::log;
use crate::core::message::Timestamp;
use crate::runtime::host::interface::{Immediate, Interface};
use crate::runtime::lifting::{ArgumentText, NotText};
use crate::runtime::state::HostState;

/// The interfaces added by [`link`], which differ in their names.
pub const OFFERED: [&str; 2] = ["wasi:logging/logging@0.1.0-draft", "wasi:logging/logging"];

/// The enum `level`.
#[derive(ComponentType, Lift, Clone, Copy)]
#[component(enum)]
#[repr(u8)]
pub enum Level {
    #[component(name = "trace")]
    Trace,
    #[component(name = "debug")]
    Debug,
    #[component(name = "info")]
    Info,
    #[component(name = "warn")]
    Warn,
    #[component(name = "error")]
    Error,
    #[component(name = "critical")]
    Critical,
}

impl From<Level> for log::LogLevel {
    fn from(level: Level) -> Self {
        match level {
            Level::Trace => Self::Trace,
            Level::Debug => Self::Debug,
            Level::Info => Self::Info,
            Level::Warn => Self::Warn,
            Level::Error | Level::Critical => Self::Error,
        }
    }
}

type Arguments = (Level, ArgumentText<MAX_LOG_PAIR_BYTES>, ArgumentText<MAX_LOG_TEXT_BYTES>);

/// The level, the text and the pairs of a record.
type Record = (log::LogLevel, String, Vec<(String, String)>);

/// Adds the interfaces.
pub fn link(
    linker: &mut Linker<HostState>,
    immediate: &mut Immediate,
    log_runs_host_code: bool,
) -> wasmtime::Result<()> {
    for name in OFFERED {
        let mut interface = Interface::new(name, linker, immediate)?;
        if log_runs_host_code {
            interface.waiting("log", |store, arguments: Arguments| {
                Box::new(log_off_fiber(store, arguments))
            })?;
        } else {
            interface.immediate("log", |store: StoreContextMut<'_, HostState>, arguments| {
                let context = &store.data().context;
                let (level, text, pairs) = record(arguments)?;
                if context.log.enabled(level) {
                    context.write_record(level, &text, &pairs, Timestamp::now());
                }
                Ok(())
            })?;
        }
    }
    Ok(())
}

async fn log_off_fiber(
    store: StoreContextMut<'_, HostState>,
    arguments: Arguments,
) -> wasmtime::Result<()> {
    let context = Arc::clone(&store.data().context);
    let record = record(arguments).map_err(|error| NotText::named(error, "log"));
    let (level, text, pairs) = record?;
    if context.log.enabled(level) {
        let off_fiber = store.data().off_fiber.clone();
        off_fiber.run(move || context.write_record(level, &text, &pairs, Timestamp::now())).await;
    }
    Ok(())
}

fn record((level, context, text): Arguments) -> wasmtime::Result<Record> {
    let (context, text, mut pairs) = (context.read("context")?, text.read("message")?, Vec::new());
    if !context.is_empty() {
        pairs.push(("context".to_owned(), context));
    }
    if let Level::Critical = level {
        // The log has no such level.
        pairs.push(("level".to_owned(), "critical".to_owned()));
    }
    Ok((level.into(), text, pairs))
}
