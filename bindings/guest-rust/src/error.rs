//! Errors that `?` turns into the answer to a message.

use std::string::FromUtf8Error;

use crate::{ComponentError, MessagingError, StorageError, WasmError};

impl WasmError {
    /// An error in words, for the sender.
    pub fn new(text: impl Into<String>) -> Self {
        Self::RuntimeError(text.into())
    }
}

macro_rules! from_display {
    ($($error:ty),*) => {$(
        impl From<$error> for WasmError {
            fn from(error: $error) -> Self {
                Self::RuntimeError(error.to_string())
            }
        }
    )*};
}

from_display!(&str, String, FromUtf8Error, crate::InvalidId, crate::RequestError);

impl From<StorageError> for WasmError {
    fn from(error: StorageError) -> Self {
        Self::RuntimeError(of_storage(&error))
    }
}

impl From<StorageError> for ComponentError {
    fn from(error: StorageError) -> Self {
        Self::InitializationFailed(of_storage(&error))
    }
}

impl From<MessagingError> for WasmError {
    fn from(error: MessagingError) -> Self {
        Self::RuntimeError(of_messaging(&error))
    }
}

fn of_storage(error: &StorageError) -> String {
    match error {
        StorageError::NotFound(text) => format!("storage: not-found: {text}"),
        StorageError::AlreadyExists(text) => format!("storage: already-exists: {text}"),
        StorageError::QuotaExceeded => "storage: quota-exceeded".into(),
        StorageError::InvalidKey(text) => format!("storage: invalid-key: {text}"),
        StorageError::IoError(text) => format!("storage: io-error: {text}"),
    }
}

fn of_messaging(error: &MessagingError) -> String {
    match error {
        MessagingError::DeliveryFailed(text) => format!("delivery-failed: {text}"),
        MessagingError::CorrelationTimeout(id) => format!("correlation-timeout: {id}"),
        MessagingError::InvalidMessage(text) => format!("invalid-message: {text}"),
        MessagingError::QueueFull => "queue-full".into(),
        MessagingError::TargetNotFound(id) => format!("target-not-found: {id}"),
    }
}
