//! Messages to other components.

use std::any::Any;
use std::cell::RefCell;
use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::time::Duration;

use crate::bindings::airssys::core::host_messaging;
use crate::{Component, ComponentId, Message, MessagingError, WasmError};

/// The content type of the outcome of a failed request.
const ERROR_TYPE: &str = "application/vnd.airssys.error+json";

/// Returns the id of this component.
pub fn self_id() -> ComponentId {
    host_messaging::self_id()
}

/// Sends a message without waiting for an answer.
pub fn send(target: &ComponentId, payload: impl AsRef<[u8]>) -> Result<(), MessagingError> {
    host_messaging::send(target, payload.as_ref())
}

/// Sends a message to several components.
pub fn broadcast(targets: &[ComponentId], payload: impl AsRef<[u8]>) -> Result<(), MessagingError> {
    host_messaging::broadcast(targets, payload.as_ref())
}

/// Asks a component. `then` gets the outcome, exactly once, after the present message: the reply, or
/// why there is none.
///
/// A new instance of this component, after a trap for example, does not know `then` any more; the
/// outcome then goes to [`Component::handle_callback`].
pub fn request<C: Component>(
    target: &ComponentId,
    payload: impl AsRef<[u8]>,
    timeout: Duration,
    then: impl FnOnce(&mut C, Result<Vec<u8>, RequestError>) -> Result<(), WasmError> + 'static,
) -> Result<Pending, MessagingError> {
    let millis = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
    let correlation = host_messaging::request(target, payload.as_ref(), millis)?;
    let continuation: Continuation = Box::new(|component, outcome| {
        // The table holds continuations of the exported component only.
        match component.downcast_mut::<C>() {
            Some(component) => then(component, outcome),
            None => Err("the request was made for another component".into()),
        }
    });
    CONTINUATIONS.with_borrow_mut(|all| all.insert(correlation.clone(), continuation));
    Ok(Pending(correlation))
}

/// A request without an outcome yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending(String);

impl Pending {
    /// Returns the correlation id.
    pub fn correlation(&self) -> &str {
        &self.0
    }

    /// Gives the request up. Its outcome, which follows all the same, says so.
    pub fn cancel(&self) -> Result<(), MessagingError> {
        host_messaging::cancel_request(&self.0)
    }
}

/// Why a request has no reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestError {
    /// A word for programs, such as `correlation-timeout`, `trap` or `runtime-error`.
    pub code: String,
    /// A text for people.
    pub message: String,
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl Error for RequestError {}

type Continuation =
    Box<dyn FnOnce(&mut dyn Any, Result<Vec<u8>, RequestError>) -> Result<(), WasmError>>;

thread_local! {
    static CONTINUATIONS: RefCell<HashMap<String, Continuation>> = RefCell::default();
}

/// Passes an outcome to the continuation of its request, or to the component.
pub(crate) fn complete<C: Component>(component: &mut C, message: Message) -> Result<(), WasmError> {
    let known = |correlation: &String| CONTINUATIONS.with_borrow_mut(|all| all.remove(correlation));
    match message.correlation.as_ref().and_then(known) {
        Some(then) => then(component, outcome(message)),
        None => component.handle_callback(message),
    }
}

fn outcome(message: Message) -> Result<Vec<u8>, RequestError> {
    match message.content_type.as_deref() {
        Some(ERROR_TYPE) => {
            let text = String::from_utf8_lossy(&message.payload);
            let member = |name| string_member(&text, name).unwrap_or_default();
            Err(RequestError { code: member("code"), message: member("message") })
        }
        _ => Ok(message.payload),
    }
}

/// Reads a string of a flat JSON object, such as the host writes.
fn string_member(json: &str, name: &str) -> Option<String> {
    let (_, rest) = json.split_once(&format!("\"{name}\":\""))?;
    let mut text = String::new();
    let mut letters = rest.chars();
    loop {
        match letters.next()? {
            '"' => return Some(text),
            '\\' => text.push(match letters.next()? {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                'b' => '\u{8}',
                'f' => '\u{c}',
                'u' => {
                    let digits: String = letters.by_ref().take(4).collect();
                    let code = u32::from_str_radix(&digits, 16).ok()?;
                    char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
                }
                other => other,
            }),
            letter => text.push(letter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_members_of_an_error_are_read() {
        let json = r#"{"code":"trap","message":"line\n\"quoted\" \\ \u001b ü"}"#;
        assert_eq!(string_member(json, "code").as_deref(), Some("trap"));
        let message = string_member(json, "message").unwrap();
        assert_eq!(message, "line\n\"quoted\" \\ \u{1b} ü");
        assert_eq!(string_member(json, "other"), None);
        assert_eq!(string_member("{\"code\":\"no end", "code"), None);
    }
}
