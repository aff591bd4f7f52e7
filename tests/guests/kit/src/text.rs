//! Text commands and the text forms of ids and errors.

use crate::{ComponentError, ComponentId, MessagingError, Reply, StorageError, WasmError};

/// The words of a command, taken from the front and separated by one space or line break. The rest
/// stays bytes, so that a command can end in any payload.
pub struct Args<'a> {
    rest: &'a [u8],
}

impl<'a> Args<'a> {
    pub fn new(payload: &'a [u8]) -> Self {
        Self { rest: payload }
    }

    /// The next word; an error if there is none.
    pub fn word(&mut self) -> Result<&'a str, WasmError> {
        let end =
            self.rest.iter().position(|b| matches!(b, b' ' | b'\n')).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest.get(1..).unwrap_or_default();
        match utf8(word)? {
            "" => Err(invalid("an argument is missing")),
            word => Ok(word),
        }
    }

    /// The next word as a number.
    pub fn number<T: std::str::FromStr>(&mut self) -> Result<T, WasmError> {
        let word = self.word()?;
        word.parse().map_err(|_| invalid(&format!("not a number: {word}")))
    }

    /// The next word as an id.
    pub fn id(&mut self) -> Result<ComponentId, WasmError> {
        parse_id(self.word()?)
    }

    /// The next word decoded from hexadecimal digits; `-` is empty.
    pub fn hex(&mut self) -> Result<String, WasmError> {
        let word = self.word()?;
        if word == "-" {
            return Ok(String::new());
        }
        let digits: Option<Vec<u8>> =
            word.chars().map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok())).collect();
        let bytes = match digits {
            Some(digits) if digits.len() % 2 == 0 => {
                digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
            }
            _ => return Err(invalid(&format!("not hexadecimal: {word}"))),
        };
        String::from_utf8(bytes).map_err(|_| invalid(&format!("not UTF-8: {word}")))
    }

    /// The rest.
    pub fn rest(self) -> &'a [u8] {
        self.rest
    }

    /// As `rest`, leaving nothing.
    pub fn take_rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    /// The rest as text.
    pub fn rest_text(self) -> Result<&'a str, WasmError> {
        utf8(self.rest)
    }

    /// The error for an unknown command.
    pub fn unknown(command: &str) -> Reply {
        Err(WasmError::RuntimeError(format!("unknown command: {command}")))
    }
}

fn utf8(bytes: &[u8]) -> Result<&str, WasmError> {
    std::str::from_utf8(bytes).map_err(|_| invalid("not UTF-8"))
}

fn invalid(text: &str) -> WasmError {
    WasmError::RuntimeError(text.into())
}

/// A text reply.
pub fn text(text: impl Into<String>) -> Reply {
    Ok(Some(text.into().into_bytes()))
}

/// A reply with the result of a host function: its value as text, or `error: ` and the error.
pub fn outcome<T, E: Render>(result: Result<T, E>, show: impl FnOnce(T) -> String) -> Reply {
    text(match result {
        Ok(value) => show(value),
        Err(error) => format!("error: {}", error.render()),
    })
}

/// `namespace/name/instance`.
pub fn format_id(id: &ComponentId) -> String {
    format!("{}/{}/{}", id.namespace, id.name, id.instance)
}

/// Parses the form of `format_id`.
pub fn parse_id(text: &str) -> Result<ComponentId, WasmError> {
    match text.split('/').collect::<Vec<_>>()[..] {
        [namespace, name, instance] => Ok(ComponentId {
            namespace: namespace.into(),
            name: name.into(),
            instance: instance.into(),
        }),
        _ => Err(invalid(&format!("not an id: {text}"))),
    }
}

/// The name of an error's WIT case, with its value in parentheses.
pub trait Render {
    fn render(&self) -> String;
}

impl Render for MessagingError {
    fn render(&self) -> String {
        match self {
            Self::DeliveryFailed(text) => format!("delivery-failed({text})"),
            Self::CorrelationTimeout(id) => format!("correlation-timeout({id})"),
            Self::InvalidMessage(text) => format!("invalid-message({text})"),
            Self::QueueFull => "queue-full".into(),
            Self::TargetNotFound(id) => format!("target-not-found({})", format_id(id)),
        }
    }
}

impl Render for StorageError {
    fn render(&self) -> String {
        match self {
            Self::NotFound(text) => format!("not-found({text})"),
            Self::AlreadyExists(text) => format!("already-exists({text})"),
            Self::QuotaExceeded => "quota-exceeded".into(),
            Self::InvalidKey(text) => format!("invalid-key({text})"),
            Self::IoError(text) => format!("io-error({text})"),
        }
    }
}

impl Render for ComponentError {
    fn render(&self) -> String {
        match self {
            Self::InitializationFailed(text) => format!("initialization-failed({text})"),
            Self::AlreadyInitialized => "already-initialized".into(),
            Self::NotInitialized => "not-initialized".into(),
            Self::ShutdownFailed(text) => format!("shutdown-failed({text})"),
            Self::InvalidState(text) => format!("invalid-state({text})"),
        }
    }
}
