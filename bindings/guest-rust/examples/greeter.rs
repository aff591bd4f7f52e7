//! Greets, counts in its storage, and asks another component.
//!
//! Payloads are text: `greet NAME`, `count`, `ask ID QUESTION`, `answer` (the last one), `fail TEXT`.

use std::time::Duration;

use airssys_guest::{
    Component, ComponentError, Config, Message, Reply, WasmError, info, request, storage,
};

const COUNT: &str = "count";

/// How long a question may wait for its answer.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Default)]
struct Greeter {
    greeting: String,
    answer: String,
}

airssys_guest::export!(Greeter);

impl Component for Greeter {
    fn initialize(&mut self, config: Config) -> Result<(), ComponentError> {
        self.greeting = config.env("GREETING").unwrap_or("Hello").into();
        Ok(())
    }

    fn handle_message(&mut self, message: Message) -> Reply {
        let text = message.text()?;
        let (command, rest) = text.split_once(' ').unwrap_or((&text, ""));
        let reply = match command {
            "greet" => {
                let count = count()? + 1;
                storage::set(COUNT, count.to_string())?;
                info!("greeted {rest}"; "count" => count);
                format!("{}, {rest}!", self.greeting)
            }
            "count" => count()?.to_string(),
            "ask" => {
                let (id, question) = rest.split_once(' ').ok_or("write: ask ID QUESTION")?;
                request(&id.parse()?, question, PATIENCE, |greeter: &mut Self, outcome| {
                    greeter.answer = match outcome {
                        Ok(reply) => String::from_utf8(reply)?,
                        Err(error) => error.to_string(),
                    };
                    Ok(())
                })?;
                "asked".into()
            }
            "answer" => self.answer.clone(),
            "fail" => return Err(WasmError::new(rest)),
            other => return Err(format!("unknown command: {other}").into()),
        };
        Ok(Some(reply.into_bytes()))
    }
}

fn count() -> Result<u64, WasmError> {
    let stored = storage::get(COUNT)?.unwrap_or_default();
    Ok(String::from_utf8(stored)?.parse().unwrap_or(0))
}
