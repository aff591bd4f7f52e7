//! Components as command-line programs: `wasi:cli/run`, each run in an instance of its own.

use airssys_wasm::*;
use serde_json::{Value, json};

use crate::harness::engine::{Engine, With, eventually};
use crate::harness::requests::Inbox;

const RUN: &str = "wasi:cli/run";

fn program(engine: &Engine, options: &Value) -> u64 {
    engine.load_with("app/tool/0", "program", &options.to_string())
}

fn ran(status: i32, stdout: &str, stderr: &str) -> Value {
    json!({ "status": status, "stdout": stdout, "stderr": stderr })
}

#[test]
fn a_program_gets_arguments_and_input_and_returns_output_and_status() {
    let engine = Engine::new();
    let tool = program(&engine, &json!({ "env": { "WHO": "me" } }));
    for (args, expected) in [
        (json!([]), ran(0, "usage: tool COMMAND\n", "")),
        (json!(["args", "a b", "", "ü"]), ran(0, "tool: [\"a b\", \"\", \"ü\"]\n", "")),
        (json!(["env", "WHO"]), ran(0, "Ok(\"me\")\n", "")),
        (json!(["cat"]), ran(0, "", "")),
        (json!({ "args": ["cat"], "stdin": "line\nünd" }), ran(0, "line\nünd", "")),
        (json!({}), ran(0, "usage: tool COMMAND\n", "")),
        (json!(["both"]), ran(0, "to out", "to err")),
        (json!(["fail"]), ran(1, "", "")),
        (json!(["what"]), ran(1, "", "unknown command: [\"what\"]\n")),
    ] {
        for run in [RUN, "wasi:cli/run@0.2.0"] {
            assert_eq!(engine.invoke(tool, run, &args).unwrap(), expected, "{run} {args}");
        }
    }
    assert_eq!(
        engine.invoke_text(tool, RUN, "", With::default()).unwrap(),
        r#"{"status":0,"stdout":"usage: tool COMMAND\n","stderr":""}"#,
    );
    // The long form is the plain function.
    let plain = engine.invoke(tool, "wasi:cli/run#run", &json!([])).unwrap();
    assert_eq!(plain, json!({ "ok": null }));
}

#[test]
fn each_run_begins_anew() {
    let engine = Engine::new();
    let tool = program(&engine, &json!({}));
    for _ in 0..3 {
        engine.invoke(tool, RUN, &json!(["leave-behind"])).unwrap();
        let left = engine.invoke(tool, RUN, &json!(["env", "LEFT"])).unwrap();
        assert_eq!(left["stdout"], "Err(NotPresent)\n");
        // An exit ends the run alone.
        assert_eq!(engine.invoke(tool, RUN, &json!(["exit", "1"])).unwrap()["status"], 1);
        let failure = engine.invoke(tool, RUN, &json!(["panic", "boom"])).unwrap_err();
        assert_eq!(failure.status, AIRSSYS_ERROR_TRAP);
        assert!(failure.detail["stderr"].as_str().unwrap().contains("boom"), "{failure}");
    }
    let described = engine.describe(tool).unwrap();
    assert_eq!(described["restarts"], 0);
    assert_eq!(
        (&described["messages"]["handled"], &described["messages"]["failed"]),
        (&json!(9), &json!(3))
    );
    assert!(described["fuel"].as_u64().unwrap() > 100_000, "{described}");
    assert_eq!(engine.status(tool).unwrap()["state"], "running");
}

#[test]
fn packed_runs_pass_any_bytes() {
    let engine = Engine::new();
    let tool = program(&engine, &json!({}));
    let with = With { flags: AIRSSYS_MESSAGE_PACKED_LISTS, ..With::default() };
    let run = |args: Value| engine.invoke_text(tool, RUN, &args.to_string(), with);
    let result: Value =
        serde_json::from_str(&run(json!({ "args": ["cat"], "stdin": "AP+A" })).unwrap()).unwrap();
    assert_eq!(result, ran(0, "AP+A", ""));
    let failure = run(json!({ "stdin": "no base64!" })).unwrap_err();
    assert_eq!(failure.status, AIRSSYS_ERROR_INVALID_ARGUMENT);
    assert!(failure.message.contains("stdin: expected base64"), "{failure}");
}

#[test]
fn unfit_arguments_are_refused_before_the_program_begins() {
    let engine = Engine::new();
    let tool = program(&engine, &json!({}));
    for (args, expected) in [
        (json!("cat"), "expected an array of strings, or an object with args and stdin"),
        (json!([1]), "expected a string"),
        (json!({ "arg": [] }), "unknown field `arg`, expected `args` or `stdin`"),
        (json!({ "stdin": [] }), "expected a string"),
        (json!(["a\0b"]), "an argument cannot contain NUL"),
    ] {
        let failure = engine.invoke(tool, RUN, &args).unwrap_err();
        assert_eq!(failure.status, AIRSSYS_ERROR_INVALID_ARGUMENT, "{failure}");
        assert!(failure.message.contains(expected), "{failure}");
    }
    let failure = engine.invoke_text(tool, RUN, "[", With::default()).unwrap_err();
    assert_eq!(failure.status, AIRSSYS_ERROR_INVALID_ARGUMENT, "{failure}");
    let calc = engine.load("app/calc/0", "calculator");
    for function in [RUN, "wasi:cli/run@0.2.0"] {
        let failure = engine.invoke(calc, function, &json!([])).unwrap_err();
        assert_eq!(failure.status, AIRSSYS_ERROR_EXPORT_NOT_FOUND, "{failure}");
        assert!(failure.message.contains("exports no function \"wasi:cli/run"), "{failure}");
    }
}

#[test]
fn limits_hold_for_runs() {
    let engine = Engine::new();
    let limits = json!({ "limits": {
        "max-host-bytes": 1 << 20, "max-message-bytes": 100_000, "max-execution-time-ms": 3_600_000,
    } });
    let tool = program(&engine, &limits);
    assert_eq!(engine.invoke(tool, RUN, &json!(["flood", "900"])).unwrap()["status"], 0);
    let failure = engine.invoke(tool, RUN, &json!(["flood", "1100"])).unwrap_err();
    assert_eq!(failure.status, AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED);
    assert_eq!(failure.detail["limit"], "max-message-bytes");
    let failure = engine.invoke(tool, RUN, &json!(["flood", "1000000000"])).unwrap_err();
    assert_eq!(failure.status, AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED);
    assert_eq!(failure.detail["limit"], "max-host-bytes");
    assert_eq!(engine.describe(tool).unwrap()["host-bytes"], 0, "all is given back");
    let limits = json!({ "limits": { "max-execution-time-ms": 200 } }).to_string();
    let quick = engine.load_with("app/quick/0", "program", &limits);
    let failure = engine.invoke(quick, RUN, &json!(["loop"])).unwrap_err();
    assert_eq!(failure.status, AIRSSYS_ERROR_TIMEOUT);
    assert_eq!(failure.detail["limit"], "max-execution-time-ms");
    assert_eq!(engine.invoke(quick, RUN, &json!(["fail"])).unwrap()["status"], 1);
}

#[test]
fn a_run_is_mail_and_can_be_interrupted() {
    let engine = Engine::new();
    let tool = program(&engine, &json!({ "limits": { "max-execution-time-ms": 3_600_000 } }));
    let inbox = Inbox::new();
    let request =
        engine.invoke_request(tool, RUN, &json!(["loop"]), With::default(), inbox).unwrap();
    let behind =
        engine.invoke_request(tool, RUN, &json!(["both"]), With::default(), inbox).unwrap();
    engine.until_busy(tool, 2, 1);
    eventually("it is interrupted", || {
        engine.interrupt(tool).unwrap();
        (!inbox.all().is_empty()).then_some(())
    });
    let outcomes = inbox.exactly(&[request, behind]);
    assert_eq!(outcomes[&request].status(), AIRSSYS_ERROR_INTERRUPTED);
    let second = outcomes[&behind].outcome.as_ref();
    // The interrupts may have met it too.
    if let Ok(output) = second {
        let output: Value = serde_json::from_slice(output.as_ref().unwrap()).unwrap();
        assert_eq!(output, ran(0, "to out", "to err"));
    }
}
