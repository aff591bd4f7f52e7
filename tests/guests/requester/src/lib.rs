//! Every messaging function as a command. Keeps the callbacks.

use std::cell::RefCell;

use guest_kit::misbehaviour::{COMMANDS, misbehave};
use guest_kit::{
    Args, Component, ComponentId, ComponentMessage, ComponentMetadata, Reply, WasmError, format_id,
    host_messaging, host_services, outcome, parse_id, text,
};
use serde_json::{Value, json};

enum OnCallback {
    Succeed,
    Trap,
    Error(String),
}

thread_local! {
    static CALLBACKS: RefCell<Vec<Value>> = const { RefCell::new(Vec::new()) };
    static TIMES: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
    static NOTES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    static ON_CALLBACK: RefCell<OnCallback> = const { RefCell::new(OnCallback::Succeed) };
}

struct Requester;
guest_kit::export!(Requester);

impl Component for Requester {
    fn metadata() -> ComponentMetadata {
        let own = [
            "self",
            "send",
            "request",
            "cancel",
            "broadcast",
            "callbacks",
            "callback-times",
            "list",
            "metadata",
            "on-callback",
            "note",
            "received",
            "sleep-then",
            "raw-target",
        ];
        let commands: Vec<_> = own.into_iter().chain(COMMANDS).collect();
        guest_kit::metadata!(true, commands)
    }

    fn handle_message(message: ComponentMessage) -> Reply {
        let ok = |()| "ok".to_string();
        let mut args = Args::new(&message.payload);
        match args.word()? {
            "self" => text(format_id(&host_messaging::self_id())),
            "send" => outcome(host_messaging::send(&args.id()?, args.rest()), ok),
            "request" => {
                let (target, timeout_ms) = (args.id()?, args.number()?);
                outcome(host_messaging::request(&target, args.rest(), timeout_ms), |id| id)
            }
            "cancel" => outcome(host_messaging::cancel_request(args.word()?), ok),
            "broadcast" => {
                let targets =
                    args.word()?.split(',').map(parse_id).collect::<Result<Vec<_>, _>>()?;
                outcome(host_messaging::broadcast(&targets, args.rest()), ok)
            }
            "raw-target" => {
                let target = ComponentId {
                    namespace: args.hex()?,
                    name: args.hex()?,
                    instance: args.hex()?,
                };
                outcome(host_messaging::send(&target, args.rest()), ok)
            }
            "list" => {
                let ids: Vec<_> = host_services::list_components().iter().map(format_id).collect();
                text(ids.join("\n"))
            }
            "metadata" => outcome(host_services::get_component_metadata(&args.id()?), |info| {
                let id = format_id(&info.id);
                json!({ "id": id, "name": info.name, "version": info.version, "health": info.health }).to_string()
            }),
            "on-callback" => {
                ON_CALLBACK.set(match args.word()? {
                    "trap" => OnCallback::Trap,
                    "error" => OnCallback::Error(args.rest_text()?.into()),
                    other => return Args::unknown(other),
                });
                text("ok")
            }
            "callbacks" => text(CALLBACKS.with_borrow(|callbacks| json!(callbacks).to_string())),
            "callback-times" => text(TIMES.with_borrow(|times| json!(times).to_string())),
            "note" => {
                NOTES.with_borrow_mut(|notes| {
                    notes.push(String::from_utf8_lossy(args.rest()).into())
                });
                Ok(None)
            }
            "received" => text(NOTES.with_borrow(|notes| json!(notes).to_string())),
            "sleep-then" => {
                host_services::sleep_millis(args.number()?);
                Ok(Some(args.rest().to_vec()))
            }
            other => misbehave(other, args, &message.payload),
        }
    }

    fn handle_callback(message: ComponentMessage) -> Result<(), WasmError> {
        let callback = json!({
            "correlation": message.metadata.correlation_id,
            "content-type": message.metadata.content_type,
            "sender": format_id(&message.sender),
            "payload": String::from_utf8_lossy(&message.payload),
        });
        CALLBACKS.with_borrow_mut(|callbacks| callbacks.push(callback));
        TIMES.with_borrow_mut(|times| times.push(message.metadata.timestamp.seconds));
        match ON_CALLBACK.replace(OnCallback::Succeed) {
            OnCallback::Succeed => Ok(()),
            OnCallback::Trap => std::process::abort(),
            OnCallback::Error(text) => Err(WasmError::RuntimeError(text)),
        }
    }
}
