//! Reads `wasi:config` and writes to `wasi:logging`, in all versions that the host offers.

use guest_kit::{Args, Component, ComponentMessage, ComponentMetadata, Reply, WasmError, text};

mod current {
    //! The latest version of each.
    wit_bindgen::generate!({
        path: ["wit/config", "wit/logging-draft"],
        inline: "
            package tests:current;
            world user {
                import wasi:config/store@0.2.0-rc.1;
                import wasi:logging/logging@0.1.0-draft;
            }
        ",
        world: "tests:current/user",
        generate_all,
    });
}

mod earlier {
    //! Earlier versions.
    wit_bindgen::generate!({
        path: ["wit/config-draft", "wit/logging"],
        inline: "
            package tests:earlier;
            world user {
                import wasi:config/store@0.2.0-draft;
                import wasi:config/runtime@0.2.0-draft;
                import wasi:logging/logging;
            }
        ",
        world: "tests:earlier/user",
        generate_all,
    });
}

use current::wasi::config::store;
use current::wasi::logging::logging;
use earlier::wasi::config::{runtime, store as draft};
use earlier::wasi::logging::logging as unversioned;

struct Settings;
guest_kit::export!(Settings);

fn found<E: std::fmt::Debug>(value: Result<Option<String>, E>) -> Reply {
    match value {
        Ok(value) => Ok(value.map(String::into_bytes)),
        Err(error) => text(format!("error: {error:?}")),
    }
}

fn lines<E: std::fmt::Debug>(pairs: Result<Vec<(String, String)>, E>) -> Reply {
    text(match pairs {
        Ok(pairs) => {
            let lines = pairs.into_iter().map(|(name, value)| format!("{name}={value}"));
            lines.collect::<Vec<_>>().join("\n")
        }
        Err(error) => format!("error: {error:?}"),
    })
}

fn level(name: &str) -> Result<logging::Level, WasmError> {
    Ok(match name {
        "trace" => logging::Level::Trace,
        "debug" => logging::Level::Debug,
        "info" => logging::Level::Info,
        "warn" => logging::Level::Warn,
        "error" => logging::Level::Error,
        "critical" => logging::Level::Critical,
        other => return Err(WasmError::RuntimeError(format!("no level: {other}"))),
    })
}

/// A context of this word; `-` is the empty one.
fn context(word: &str) -> &str {
    if word == "-" { "" } else { word }
}

impl Component for Settings {
    fn metadata() -> ComponentMetadata {
        guest_kit::metadata!(false, ["get", "all", "log"])
    }

    fn handle_message(message: ComponentMessage) -> Reply {
        let mut args = Args::new(&message.payload);
        match args.word()? {
            "get" => found(store::get(args.word()?)),
            "get-hex" => found(store::get(&args.hex()?)),
            "all" => lines(store::get_all()),
            "draft-get" => found(draft::get(args.word()?)),
            "draft-all" => lines(draft::get_all()),
            "runtime-get" => found(runtime::get(args.word()?)),
            "runtime-all" => lines(runtime::get_all()),
            "log" => {
                let (level, context) = (level(args.word()?)?, context(args.word()?));
                logging::log(level, context, args.rest_text()?);
                text("ok")
            }
            "log-large" => {
                let (context, size) = (args.number()?, args.number()?);
                logging::log(logging::Level::Info, &"c".repeat(context), &"x".repeat(size));
                text("ok")
            }
            "log-many" => {
                for n in 0..args.number::<usize>()? {
                    logging::log(logging::Level::Info, "many", &format!("record {n}"));
                }
                text("ok")
            }
            "unversioned-log" => {
                unversioned::log(
                    unversioned::Level::Info,
                    context(args.word()?),
                    args.rest_text()?,
                );
                text("ok")
            }
            other => Args::unknown(other),
        }
    }
}
