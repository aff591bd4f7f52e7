//! Where records go when the host has no logger: warnings and errors to stderr.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use crate::core::log::{LogLevel, LogRecord, LogSink};
use crate::system::sigpipe::without_sigpipe;

/// Writes one line a record, to what stderr was when the engine was made: whatever gets its number later is
/// not for the words of components.
pub struct StderrLog(Option<Stderr>);

#[cfg(unix)]
type Stderr = std::fs::File;

#[cfg(not(unix))]
type Stderr = io::Stderr;

impl StderrLog {
    /// For a process without stderr nothing is written.
    #[cfg(unix)]
    pub fn open() -> io::Result<Self> {
        use std::os::fd::AsFd as _;

        match io::stderr().as_fd().try_clone_to_owned() {
            Ok(own) => Ok(Self(Some(own.into()))),
            Err(error) if error.raw_os_error() == Some(libc::EBADF) => Ok(Self(None)),
            Err(error) => Err(error),
        }
    }

    /// As the standard library has it.
    #[cfg(not(unix))]
    pub fn open() -> io::Result<Self> {
        Ok(Self(Some(io::stderr())))
    }
}

impl LogSink for StderrLog {
    fn enabled(&self, level: LogLevel) -> bool {
        level >= LogLevel::Warn
    }

    fn write(&self, record: &LogRecord<'_>) {
        let Some(mut stderr) = self.0.as_ref() else { return };
        let mut line = format!("airssys {} ", record.level.name());
        // Writing to a string does not fail.
        if let Some(component) = record.component {
            let _ = write!(line, "{}: ", component.as_str().escape_debug());
        }
        // A guest must not be able to forge a second line, or to talk to the terminal.
        let _ = write!(line, "{}", record.message.escape_debug());
        for (key, value) in record.context {
            let _ = write!(line, " {}={value:?}", key.escape_debug());
        }
        line.push('\n');
        // Nobody reads it any more, perhaps; that is no matter of the component's.
        let _ = without_sigpipe(|| stderr.write_all(line.as_bytes()));
    }

    fn runs_host_code(&self) -> bool {
        false
    }
}
