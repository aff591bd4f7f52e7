//! The default log: warnings and errors to stderr.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use crate::core::log::{LogLevel, LogRecord, LogSink};
use crate::system::sigpipe::without_sigpipe;

/// Writes one line per record to a duplicate of stderr made with the engine: the text of components
/// must not end up in a file that gets descriptor 2 later.
pub struct StderrLog(Option<Stderr>);

#[cfg(unix)]
type Stderr = std::fs::File;

#[cfg(not(unix))]
type Stderr = io::Stderr;

impl StderrLog {
    /// Duplicates stderr. Without stderr nothing is written.
    #[cfg(unix)]
    pub fn open() -> io::Result<Self> {
        use std::os::fd::AsFd as _;

        match io::stderr().as_fd().try_clone_to_owned() {
            Ok(own) => Ok(Self(Some(own.into()))),
            Err(error) if error.raw_os_error() == Some(libc::EBADF) => Ok(Self(None)),
            Err(error) => Err(error),
        }
    }

    /// Uses the standard library's stderr.
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
        // Writing to a string cannot fail.
        if let Some(component) = record.component {
            let _ = write!(line, "{}: ", component.as_str().escape_debug());
        }
        // Escaped: a guest must not forge a second line or control the terminal.
        let _ = write!(line, "{}", record.message.escape_debug());
        for (key, value) in record.context {
            let _ = write!(line, " {}={value:?}", key.escape_debug());
        }
        line.push('\n');
        // A reader that is gone is not the component's fault.
        let _ = without_sigpipe(|| stderr.write_all(line.as_bytes()));
    }

    fn runs_host_code(&self) -> bool {
        false
    }
}
