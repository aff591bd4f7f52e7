//! Converts the engine's errors to a status, a message and details.

use std::any::Any;

use serde_json::{Map, Value, json};

use crate::component::lifecycle::State;
use crate::core::bounds::cut;
use crate::core::error::{CallError, LimitBreach, Unstarted, WasmError};
use crate::core::id::ComponentHandle;
use crate::ffi::status::*;
use crate::runtime::engine::RuntimeError;
use crate::runtime::load_error::LoadError;
use crate::runtime::screen::refusal::Excess;
use crate::storage::backend::StorageError;
use crate::storage::conformance::Report;
use crate::storage::durable::open_error::OpenError;
use crate::storage::namespace::Namespace;
use crate::system::error::EngineError;
use crate::system::json::OptionsError;
use crate::system::storage_transfer::ImportError;

/// The most bytes of a message, which can hold names from a binary.
const MAX_MESSAGE_BYTES: usize = 64 << 10;

/// Stands in a message before what the component wrote to standard error.
const BEFORE_LAST_WORDS: &str = "; its stderr ended with: ";

/// Returns a message of this library without what a component wrote to standard error, which is for
/// the host alone.
pub fn without_last_words(message: &str) -> &str {
    message.split_once(BEFORE_LAST_WORDS).map_or(message, |(before, _)| before)
}

/// How many of a component's last lines on standard error are in a message.
const MESSAGE_LINES: usize = 3;

/// The most components listed in details.
const MAX_LISTED: usize = 1000;

/// The report of a failed function.
#[derive(Debug)]
pub struct Failure {
    /// Never `AIRSSYS_OK`.
    pub status: airssys_status_t,
    /// For people.
    pub message: String,
    /// For programs; a JSON object.
    pub detail: Map<String, Value>,
}

impl Failure {
    fn new(status: airssys_status_t, message: String, detail: Value) -> Self {
        let detail = match detail {
            Value::Object(detail) => detail,
            _ => Map::new(),
        };
        Self { status, message: cut(&message, MAX_MESSAGE_BYTES).into_owned(), detail }
    }

    /// Adds the last lines that the component wrote to standard error: all to the details, the very
    /// last to the message.
    fn with_last_words(mut self, stderr: Option<&str>) -> Self {
        let Some(stderr) = stderr else { return self };
        let first = stderr.rmatch_indices('\n').nth(MESSAGE_LINES - 1).map_or(0, |(at, _)| at + 1);
        let last = stderr[first..].replace('\n', " | ");
        let message = format!("{}{BEFORE_LAST_WORDS}{last}", self.message);
        self.message = cut(&message, MAX_MESSAGE_BYTES).into_owned();
        self.detail.insert("stderr".into(), stderr.into());
        self
    }

    /// Returns the failure for an unusable argument.
    pub fn argument(name: &str, problem: &str) -> Self {
        Self::new(
            AIRSSYS_ERROR_INVALID_ARGUMENT,
            format!("{name} {problem}"),
            json!({ "argument": name }),
        )
    }

    /// Returns the failure for an unreadable payload.
    pub fn message(problem: &str) -> Self {
        Self::new(AIRSSYS_ERROR_INVALID_MESSAGE, problem.into(), Value::Null)
    }

    /// Returns the failure for an engine of the parent, used in the child of a `fork`.
    pub fn forked() -> Self {
        let message = "the engine was made before a fork; a child process must make its own";
        Self::new(AIRSSYS_ERROR_FORKED, message.into(), Value::Null)
    }

    /// Returns the failure for a binary that is not loaded.
    pub fn of_binary(error: &LoadError) -> Self {
        let (status, mut detail) = load_error("", error);
        // It has no id.
        detail.as_object_mut().map(|detail| detail.remove("component"));
        Self::new(status, error.to_string(), detail)
    }

    /// Returns the failure for a storage that breaks rules.
    pub fn not_conforming(report: &Report) -> Self {
        let status =
            if report.hangs { AIRSSYS_ERROR_TIMEOUT } else { AIRSSYS_ERROR_NOT_CONFORMING };
        Self::new(status, report.text(), report.json())
    }

    /// Returns the failure for a panic, stopped at the boundary.
    pub fn panic(panic: &(dyn Any + Send)) -> Self {
        let text = panic
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("no message");
        Self::new(AIRSSYS_ERROR_PANIC, format!("internal error: {text}"), Value::Null)
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        let message = error.to_string();
        if let EngineError::Broadcast { failed, .. } = error {
            return Self::new(
                AIRSSYS_ERROR_DELIVERY_FAILED,
                message,
                json!({ "failed": failed.into_iter().map(failed_for).collect::<Value>() }),
            );
        }
        if let EngineError::Several { failed, .. } = error {
            let failed: Vec<_> = failed.into_iter().map(failed_for).collect();
            // What went wrong first, as for a single component.
            let status = failed.first().and_then(|first| first["status"].as_i64());
            let status = status.and_then(|status| status.try_into().ok());
            let status = status.unwrap_or(AIRSSYS_ERROR_PANIC);
            return Self::new(status, message, json!({ "failed": failed }));
        }
        let cause = error.cause().and_then(CallError::stderr).map(str::to_owned);
        let (status, detail) = match &error {
            EngineError::InvalidId(_) | EngineError::ReservedId(_) => {
                (AIRSSYS_ERROR_INVALID_ID, Value::Null)
            }
            EngineError::Options(error) => {
                let status = match error {
                    OptionsError::NoDescriptor { .. } => AIRSSYS_ERROR_IO,
                    _ => AIRSSYS_ERROR_INVALID_OPTIONS,
                };
                (status, options_detail(error))
            }
            EngineError::Runtime(RuntimeError::Cache(_)) => (AIRSSYS_ERROR_IO, Value::Null),
            EngineError::Runtime(RuntimeError::Thread(_)) | EngineError::Threads(_) => {
                (AIRSSYS_ERROR_IO, json!({ "resource": "threads" }))
            }
            EngineError::Runtime(RuntimeError::Wasmtime(_)) => {
                (AIRSSYS_ERROR_INVALID_OPTIONS, Value::Null)
            }
            EngineError::Stderr(_) => (AIRSSYS_ERROR_IO, json!({ "resource": "descriptors" })),
            EngineError::StorageFile(OpenError { path, problem }) => (
                AIRSSYS_ERROR_IO,
                json!({ "path": path.display().to_string(), "problem": problem.name() }),
            ),
            EngineError::TwoStorages { .. } | EngineError::NoStorageFile => {
                (AIRSSYS_ERROR_INVALID_OPTIONS, Value::Null)
            }
            EngineError::Compaction(_) => (AIRSSYS_ERROR_IO, Value::Null),
            EngineError::File { path, .. } => {
                (AIRSSYS_ERROR_IO, json!({ "path": path.display().to_string() }))
            }
            EngineError::Load { id, error } => load_error(id.as_str(), error),
            EngineError::Precompile(error) => return Self::of_binary(error),
            EngineError::NotReplaced { component, version, error } => {
                let (status, mut detail) = load_error(component.as_str(), error);
                detail["version"] = (*version).into();
                (status, detail)
            }
            EngineError::NotInTime { component, version, timeout } => {
                let detail = json!({
                    "component": component.as_str(),
                    "version": version,
                    "limit": "timeout-ms",
                    "value": millis(*timeout),
                });
                (AIRSSYS_ERROR_TIMEOUT, detail)
            }
            EngineError::NoEarlierVersion { component } => (
                AIRSSYS_ERROR_INVALID_ARGUMENT,
                json!({ "component": component.as_str(), "argument": "handle" }),
            ),
            EngineError::StateInUse { component, handle } => (
                AIRSSYS_ERROR_INVALID_ARGUMENT,
                json!({ "component": component.as_str(), "handle": handle.0, "argument": "id" }),
            ),
            EngineError::InvalidGroupName { .. } | EngineError::InvalidGroup(_) => {
                (AIRSSYS_ERROR_INVALID_ARGUMENT, json!({ "argument": "name" }))
            }
            EngineError::Group { handle, name } => {
                let detail = json!({ "handle": handle.0, "group": &**name });
                (AIRSSYS_ERROR_COMPONENT_NOT_FOUND, detail)
            }
            EngineError::HasCanary { component, version } => {
                let detail = json!({ "component": component.as_str(), "version": version });
                (AIRSSYS_ERROR_CANARY_UNDER_WAY, detail)
            }
            EngineError::NoCanary { component, ended } => {
                let change = ended.map(|verdict| verdict.name());
                let reason = ended.map(|verdict| verdict.reason().name());
                let component = component.as_str();
                let detail = json!({
                    "component": component, "argument": "handle", "change": change, "reason": reason,
                });
                (AIRSSYS_ERROR_INVALID_ARGUMENT, detail)
            }
            EngineError::CanaryInTime { component, .. } => {
                (AIRSSYS_ERROR_TIMEOUT, json!({ "component": component.as_str() }))
            }
            EngineError::UnknownHandle(handle) => {
                (AIRSSYS_ERROR_COMPONENT_NOT_FOUND, json!({ "handle": handle.0 }))
            }
            EngineError::UnknownId(id) => {
                (AIRSSYS_ERROR_COMPONENT_NOT_FOUND, json!({ "component": id.as_str() }))
            }
            EngineError::QueueFull { component, full } => {
                let (limit, value) = full.by.limit();
                let detail = json!({
                    "component": component.as_str(),
                    "capacity": full.bounds.messages,
                    "max-bytes": full.bounds.bytes,
                    "limit": limit,
                    "value": value,
                });
                (AIRSSYS_ERROR_QUEUE_FULL, detail)
            }
            EngineError::MessageTooLarge { component, breach } => {
                (AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED, limit_detail(component.as_str(), breach))
            }
            EngineError::Gone(component) => {
                (AIRSSYS_ERROR_COMPONENT_NOT_FOUND, json!({ "component": component.as_str() }))
            }
            EngineError::NotRunning { component, state } => {
                let status = match state {
                    State::Failed => AIRSSYS_ERROR_COMPONENT_FAILED,
                    _ => AIRSSYS_ERROR_COMPONENT_STOPPED,
                };
                (status, json!({ "component": component.as_str(), "state": state.name() }))
            }
            EngineError::InvalidMessage { component, problem } => {
                let accepted: Vec<_> = problem.accepted.iter().map(|codec| codec.name()).collect();
                let detail = json!({
                    "component": component.as_str(),
                    "codec": problem.found.name(),
                    "accepted": accepted,
                });
                (AIRSSYS_ERROR_INVALID_MESSAGE, detail)
            }
            EngineError::NotGranted { component, action, pattern } => (
                AIRSSYS_ERROR_INVALID_OPTIONS,
                json!({ "component": component, "action": action, "pattern": pattern }),
            ),
            EngineError::UnknownRequest(id) => {
                (AIRSSYS_ERROR_REQUEST_NOT_FOUND, json!({ "request": id }))
            }
            EngineError::TooManyRequests => (AIRSSYS_ERROR_QUEUE_FULL, Value::Null),
            EngineError::Call { component, error } => call_error(component.as_str(), error),
            EngineError::Shutdown { component, error } => {
                let (_, detail) = call_error(component.as_str(), error);
                (AIRSSYS_ERROR_SHUTDOWN_FAILED, detail)
            }
            EngineError::StillInCallback { component } => {
                (AIRSSYS_ERROR_TIMEOUT, json!({ "component": component.as_str() }))
            }
            EngineError::OtherState { component, wanted, state, .. } => {
                let (component, state) = (component.as_str(), *state);
                let detail = json!({ "component": component, "state": state, "wanted": wanted });
                (AIRSSYS_ERROR_TIMEOUT, detail)
            }
            EngineError::WouldDeadlock { target } => {
                (AIRSSYS_ERROR_WOULD_DEADLOCK, json!({ "component": target }))
            }
            EngineError::ShutdownTimeout { unfinished, .. } => {
                let components: Value = unfinished.iter().take(MAX_LISTED).cloned().collect();
                let unfinished = unfinished.len();
                let detail = json!({ "unfinished": unfinished, "components": components });
                (AIRSSYS_ERROR_TIMEOUT, detail)
            }
            EngineError::Storage { namespace, error } => {
                let status = storage_status(error);
                let namespace = namespace.as_ref().map(Namespace::as_str);
                (status, json!({ "namespace": namespace, "code": error.code() }))
            }
            EngineError::NotExported { .. } => (AIRSSYS_ERROR_IO, Value::Null),
            EngineError::Import { line, imported, error } => {
                let (status, code) = match error {
                    ImportError::Defect(_) => (AIRSSYS_ERROR_INVALID_ARGUMENT, "defect"),
                    ImportError::Exists { .. } => (AIRSSYS_ERROR_INVALID_ARGUMENT, "exists"),
                    ImportError::Storage(error) => (storage_status(error), error.code()),
                    ImportError::Read(_) => (AIRSSYS_ERROR_IO, "io-error"),
                };
                let mut detail = imported.json();
                detail["line"] = (*line).into();
                detail["code"] = code.into();
                (status, detail)
            }
            EngineError::UnloadOfAll => {
                (AIRSSYS_ERROR_INVALID_ARGUMENT, json!({ "argument": "handle" }))
            }
            EngineError::KeyTwice { .. } => {
                (AIRSSYS_ERROR_INVALID_ARGUMENT, json!({ "argument": "changes" }))
            }
            EngineError::ValueTooLarge { .. } => {
                (AIRSSYS_ERROR_INVALID_ARGUMENT, json!({ "argument": "value" }))
            }
            EngineError::Stopped => (AIRSSYS_ERROR_ENGINE_STOPPED, Value::Null),
            EngineError::Broadcast { .. } | EngineError::Several { .. } => {
                (AIRSSYS_ERROR_DELIVERY_FAILED, Value::Null)
            }
        };
        Self::new(status, message, detail).with_last_words(cause.as_deref())
    }
}

fn storage_status(error: &StorageError) -> airssys_status_t {
    match error {
        StorageError::InvalidKey(_) | StorageError::HostInvalidKey(_) => {
            AIRSSYS_ERROR_INVALID_ARGUMENT
        }
        StorageError::QuotaExceeded => AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED,
        StorageError::NotFound(_)
        | StorageError::Io(_)
        | StorageError::Denied(_)
        | StorageError::HostIo(_)
        | StorageError::File { .. } => AIRSSYS_ERROR_IO,
        StorageError::Unsupported(_) => AIRSSYS_ERROR_UNSUPPORTED,
        StorageError::WouldDeadlock => AIRSSYS_ERROR_WOULD_DEADLOCK,
    }
}

/// Returns the details of one component of several, for which a function failed.
fn failed_for((handle, error): (ComponentHandle, EngineError)) -> Value {
    let failure = Failure::from(error);
    json!({ "handle": handle.0, "status": failure.status, "message": failure.message })
}

/// Returns the failure of a request without a reply.
pub fn of_request(component: &str, error: &CallError) -> Failure {
    let (status, detail) = call_error(component, error);
    Failure::new(status, format!("{component}: {error}"), detail).with_last_words(error.stderr())
}

impl From<OptionsError> for Failure {
    fn from(error: OptionsError) -> Self {
        EngineError::from(error).into()
    }
}

fn options_detail(error: &OptionsError) -> Value {
    match error {
        OptionsError::Syntax { document, .. } => json!({ "place": document }),
        OptionsError::UnknownKey { place, key, nearest, known } => {
            json!({ "place": place, "key": key, "nearest": nearest, "known": known })
        }
        OptionsError::WrongType { place, .. }
        | OptionsError::OutOfRange { place, .. }
        | OptionsError::Invalid { place, .. } => json!({ "place": place }),
        OptionsError::NoDescriptor { place, .. } => {
            json!({ "place": place, "resource": "descriptors" })
        }
    }
}

fn load_error(component: &str, error: &LoadError) -> (airssys_status_t, Value) {
    match error {
        LoadError::InvalidComponent(_) | LoadError::Metadata(_) => {
            (AIRSSYS_ERROR_INVALID_COMPONENT, json!({ "component": component }))
        }
        LoadError::TooMuch(Excess { limit, value, found, place }) => (
            AIRSSYS_ERROR_INVALID_COMPONENT,
            json!({
                "component": component,
                "limit": limit,
                "value": value,
                "found": found,
                "section": place.section,
                "offset": place.offset,
                "function": place.function,
            }),
        ),
        LoadError::CompileTime { limit } => (
            AIRSSYS_ERROR_TIMEOUT,
            json!({
                "component": component,
                "limit": "compile.max-time-ms",
                "value": millis(*limit),
            }),
        ),
        LoadError::GivenUp => (AIRSSYS_ERROR_INTERRUPTED, json!({ "component": component })),
        LoadError::CompileMemory { limit, wanted } => (
            AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED,
            json!({
                "component": component,
                "limit": "compile.max-memory-bytes",
                "value": limit,
                "wanted": wanted,
            }),
        ),
        LoadError::CodeBytes { limit, bytes } => (
            AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED,
            json!({
                "component": component,
                "limit": "compile.max-code-bytes",
                "value": limit,
                "wanted": bytes,
            }),
        ),
        LoadError::CompilesAbandoned { count } => (
            AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED,
            json!({ "component": component, "limit": "abandoned-compiles", "value": count }),
        ),
        LoadError::Threads(_) => {
            (AIRSSYS_ERROR_IO, json!({ "component": component, "resource": "threads" }))
        }
        LoadError::Mappings(full) => (
            AIRSSYS_ERROR_IO,
            json!({
                "component": component,
                "resource": "mappings",
                "limit": "vm.max_map_count",
                "value": full.most,
            }),
        ),
        LoadError::NoMemory { .. } => {
            (AIRSSYS_ERROR_IO, json!({ "component": component, "resource": "memory" }))
        }
        LoadError::Descriptors(_) => {
            (AIRSSYS_ERROR_IO, json!({ "component": component, "resource": "descriptors" }))
        }
        LoadError::Stopped => (AIRSSYS_ERROR_ENGINE_STOPPED, json!({ "component": component })),
        LoadError::Instantiation(_) => {
            (AIRSSYS_ERROR_INSTANTIATION_FAILED, json!({ "component": component }))
        }
        LoadError::Limit(breach) => {
            (AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED, limit_detail(component, breach))
        }
        LoadError::Call { during, error } => {
            let (status, mut detail) = call_error(component, error);
            detail["during"] = (*during).into();
            (status, detail)
        }
        LoadError::Unhealthy { last, gate } => (
            AIRSSYS_ERROR_TIMEOUT,
            json!({
                "component": component,
                "limit": "health-gate-ms",
                "value": millis(*gate),
                "health": last,
            }),
        ),
        LoadError::OtherLifecycle(_) | LoadError::Unexpected(_) | LoadError::Untrusted(_) => {
            (AIRSSYS_ERROR_INVALID_COMPONENT, json!({ "component": component }))
        }
        LoadError::Refused(_) => {
            (AIRSSYS_ERROR_INITIALIZATION_FAILED, json!({ "component": component }))
        }
    }
}

fn limit_detail(component: &str, breach: &LimitBreach) -> Value {
    let (limit, value) = breach.limit();
    json!({ "component": component, "limit": limit, "value": value })
}

fn call_error(component: &str, error: &CallError) -> (airssys_status_t, Value) {
    let mut detail = json!({ "component": component, "code": error.code() });
    let status = match error {
        CallError::Guest(error) => {
            detail["origin"] = "guest".into();
            match error {
                WasmError::ComponentNotFound(_) => AIRSSYS_ERROR_COMPONENT_NOT_FOUND,
                WasmError::InstantiationFailed(_) => AIRSSYS_ERROR_INSTANTIATION_FAILED,
                WasmError::ExportNotFound(_) => AIRSSYS_ERROR_EXPORT_NOT_FOUND,
                WasmError::Timeout => AIRSSYS_ERROR_TIMEOUT,
                WasmError::ResourceLimitExceeded(_) => AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED,
                WasmError::InvalidComponent(_) => AIRSSYS_ERROR_INVALID_COMPONENT,
                WasmError::RuntimeError(_) => AIRSSYS_ERROR_RUNTIME,
            }
        }
        CallError::Lifecycle { .. } => {
            detail["origin"] = "guest".into();
            AIRSSYS_ERROR_RUNTIME
        }
        CallError::Trap { backtrace, .. } => {
            detail["backtrace"] = backtrace.as_str().into();
            AIRSSYS_ERROR_TRAP
        }
        CallError::Exited { code, .. } => {
            detail["exit-code"] = (*code).into();
            AIRSSYS_ERROR_TRAP
        }
        CallError::NoStack { .. } => {
            detail["resource"] = "memory".into();
            AIRSSYS_ERROR_IO
        }
        CallError::DoesNotFit(_) | CallError::Limit(_) => {
            let (limit, value) = match error {
                CallError::DoesNotFit(unfit) => unfit.limit(),
                CallError::Limit(breach) => breach.limit(),
                _ => Default::default(),
            };
            detail["limit"] = limit.into();
            detail["value"] = value.into();
            AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED
        }
        CallError::HealthTimeout { limit } => {
            detail["limit"] = "health.timeout-ms".into();
            detail["value"] = millis(*limit);
            AIRSSYS_ERROR_TIMEOUT
        }
        CallError::Unhealthy { .. } => AIRSSYS_ERROR_RUNTIME,
        CallError::StateStorage { .. } => AIRSSYS_ERROR_IO,
        CallError::ExecutionTime { limit } => {
            detail["limit"] = "max-execution-time-ms".into();
            detail["value"] = millis(*limit);
            AIRSSYS_ERROR_TIMEOUT
        }
        CallError::CallerTimeout { timeout, unstarted } => {
            detail["limit"] = "timeout_ms".into();
            detail["value"] = millis(*timeout);
            how_far(&mut detail, unstarted);
            AIRSSYS_ERROR_TIMEOUT
        }
        CallError::CorrelationTimeout { unstarted, .. } => {
            how_far(&mut detail, unstarted);
            AIRSSYS_ERROR_TIMEOUT
        }
        CallError::Dropped { bounds } => {
            detail["capacity"] = bounds.messages.into();
            detail["max-bytes"] = bounds.bytes.into();
            AIRSSYS_ERROR_QUEUE_FULL
        }
        CallError::Interrupted => AIRSSYS_ERROR_INTERRUPTED,
        CallError::Cancelled => AIRSSYS_ERROR_CANCELLED,
        CallError::Remote { status, .. } => *status,
        CallError::ExportNotFound { .. } | CallError::FunctionNotFound { .. } => {
            AIRSSYS_ERROR_EXPORT_NOT_FOUND
        }
        CallError::InvalidArguments { .. } => AIRSSYS_ERROR_INVALID_ARGUMENT,
        CallError::Uncallable { .. } => AIRSSYS_ERROR_UNSUPPORTED,
        CallError::RestartFailed { .. } => AIRSSYS_ERROR_INSTANTIATION_FAILED,
        CallError::Stopped => {
            detail["state"] = State::Stopped.name().into();
            AIRSSYS_ERROR_COMPONENT_STOPPED
        }
        CallError::Failed => {
            detail["state"] = State::Failed.name().into();
            AIRSSYS_ERROR_COMPONENT_FAILED
        }
        CallError::Unloaded => AIRSSYS_ERROR_COMPONENT_NOT_FOUND,
        CallError::EngineStopped => AIRSSYS_ERROR_ENGINE_STOPPED,
        CallError::Internal { .. } => AIRSSYS_ERROR_PANIC,
    };
    (status, detail)
}

/// Adds whether a message had begun when its sender's time was over, and if not, what it waited
/// for.
fn how_far(detail: &mut Value, unstarted: &Option<Unstarted>) {
    detail["started"] = unstarted.is_none().into();
    if let Some(Unstarted { waited, behind }) = unstarted {
        detail["waited-ms"] = millis(*waited);
        detail["behind"] = (*behind).into();
    }
}

fn millis(duration: std::time::Duration) -> Value {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).into()
}
