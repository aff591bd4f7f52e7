//! JSON payloads.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::messaging::Pending;
use crate::{Component, ComponentId, Message, MessagingError, Reply, RequestError, WasmError};

/// Reads the payload of a message.
pub fn read<T: DeserializeOwned>(message: &Message) -> Result<T, WasmError> {
    serde_json::from_slice(&message.payload)
        .map_err(|error| WasmError::new(format!("the payload is not as expected: {error}")))
}

/// Makes a reply of a value.
pub fn reply<T: Serialize + ?Sized>(value: &T) -> Reply {
    let payload = serde_json::to_vec(value);
    payload.map(Some).map_err(|error| WasmError::new(format!("the reply has no JSON: {error}")))
}

/// As [`crate::request`], with a value each way.
pub fn request<C: Component, A: DeserializeOwned>(
    target: &ComponentId,
    question: &(impl Serialize + ?Sized),
    timeout: Duration,
    then: impl FnOnce(&mut C, Result<A, RequestError>) -> Result<(), WasmError> + 'static,
) -> Result<Pending, MessagingError> {
    let payload = serde_json::to_vec(question);
    let payload = payload.map_err(|error| MessagingError::InvalidMessage(error.to_string()))?;
    crate::request(target, payload, timeout, |component: &mut C, outcome| {
        let answer = outcome.and_then(|reply| {
            serde_json::from_slice(&reply).map_err(|error| RequestError {
                code: "invalid-message".into(),
                message: format!("the reply is not as expected: {error}"),
            })
        });
        then(component, answer)
    })
}
