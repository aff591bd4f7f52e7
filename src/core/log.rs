//! Log records of components and of the engine.

use crate::core::id::ComponentId;
use crate::core::message::Timestamp;

/// How much a record matters; the order is that of the WIT enum `log-level`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

impl LogLevel {
    /// The lower-case name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// One record on its way to a [`LogSink`].
#[derive(Clone, Debug)]
pub struct LogRecord<'a> {
    /// How much it matters.
    pub level: LogLevel,
    /// Who wrote it; `None` is the engine itself.
    pub component: Option<&'a ComponentId>,
    /// The text.
    pub message: &'a str,
    /// Key and value pairs.
    pub context: &'a [(String, String)],
    /// When it was written.
    pub time: Timestamp,
}

/// Who learns what code of the host says when it fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HostErrorTexts {
    /// The host, in its log. Guests learn that it failed.
    #[default]
    Logged,
    /// The guest that asked.
    Shown,
}

/// Where records go.
pub trait LogSink: Send + Sync {
    /// Whether records of this level are wanted; others are not even built.
    fn enabled(&self, level: LogLevel) -> bool;

    /// Takes one record. May be called from several threads at once.
    fn write(&self, record: &LogRecord<'_>);

    /// Whether [`LogSink::write`] runs code of the host, which needs a native stack.
    fn runs_host_code(&self) -> bool;
}
