//! Typed calls both ways: arguments and answers that fit, nearly fit, or are garbage.

use std::sync::{Arc, Mutex};

use airssys_wasm::*;
use serde_json::{Value, json};

use crate::harness::engine::{Config, Engine, With, eventually};
use crate::harness::log::set_logger;
use crate::random::Random;
use crate::target::{Target, sound};

/// Text and numbers that stand where others belong.
const ODD: [&str; 14] = [
    "null",
    "true",
    "-1",
    "1e400",
    "18446744073709551615",
    "[]",
    "{}",
    "\"\"",
    "\"AAA=\"",
    "\"NaN\"",
    "{\"some\":null}",
    "{\"ok\":1}",
    "[[[[]]]]",
    "\"\\ud800\"",
];

/// How deep a made value nests.
const MAX_DEPTH: usize = 6;

/// A function by its name in a call, the types of its parameters, and the table of types.
struct Function {
    call: String,
    params: Vec<Value>,
    types: Arc<Value>,
}

pub struct Typed {
    engine: Engine,
    handles: [u64; 2],
    functions: [Vec<Function>; 2],
    /// What the host answers next.
    answer: Arc<Mutex<(i32, String)>>,
}

impl Typed {
    pub fn new() -> Self {
        let options = json!({
            "limits": { "max-memory-bytes": 32 << 20, "max-execution-time-ms": 500,
                        "max-fuel": 20_000_000, "max-host-bytes": 16 << 20 },
            "capabilities": { "host": "editor:api/*" },
        });
        let answer = Arc::new(Mutex::new((AIRSSYS_OK, String::new())));
        let told = Arc::clone(&answer);
        let config = Config::bare().with(&options.to_string());
        let config =
            config.offering("editor:api/buffer@1.2.0", move |_| told.lock().unwrap().clone());
        set_logger(&config, AIRSSYS_LOG_TRACE, |_| {});
        let engine = config.engine();
        let handles = ["calculator", "plugin"]
            .map(|guest| engine.load_with(&format!("fuzz/{guest}/0"), guest, "{}"));
        let functions = handles.map(|handle| functions(&engine.inspect(handle).unwrap()));
        Self { engine, handles, functions, answer }
    }
}

fn functions(document: &Value) -> Vec<Function> {
    let types = Arc::new(document["types"].clone());
    let all = document["exports"].as_array().unwrap().iter();
    let all = all.flat_map(|interface| interface["functions"].as_array().unwrap());
    let function = |it: &Value| Function {
        call: it["call"].as_str().unwrap().to_owned(),
        params: it["params"].as_array().unwrap().iter().map(|it| it["type"].clone()).collect(),
        types: Arc::clone(&types),
    };
    // The time limit ends it, which takes most of the time of a batch.
    all.map(function).filter(|it| !it.call.ends_with("#spin")).collect()
}

impl Target for Typed {
    /// Lines: which component, the function, its arguments, the status and the text of the host's answer.
    fn input(&self, random: &mut Random) -> Vec<u8> {
        let component = random.below(2);
        let function = random.pick(&self.functions[component]);
        let args = function.params.iter().map(|it| made(it, &function.types, random, 0));
        let mut args = format!("[{}]", args.collect::<Vec<_>>().join(","));
        let mut call = function.call.clone();
        if random.one_in(4) {
            args = spoilt(args, random);
        }
        if random.one_in(16) {
            call = spoilt(call, random);
        }
        let answers = self.functions[1].iter().collect::<Vec<_>>();
        let like = random.pick(&answers);
        let answer = match like.params.first() {
            Some(ty) if random.one_in(2) => made(ty, &like.types, random, 0),
            _ => (*random.pick(&ODD)).to_owned(),
        };
        let answer = match random.below(3) {
            0 => format!("{{\"ok\":{answer}}}"),
            1 => answer,
            _ => spoilt(answer, random),
        };
        let status = random.pick(&[0, 0, 0, 11, 99, -7]);
        let line = |text: &str| text.replace(['\n', '\0'], " ");
        let (call, args, answer) = (line(&call), line(&args), line(&answer));
        format!("{component}\n{call}\n{args}\n{status}\n{answer}").into_bytes()
    }

    fn run(&mut self, input: &[u8]) {
        let text = String::from_utf8_lossy(input).into_owned();
        let mut lines = text.split('\n');
        let mut next = || lines.next().unwrap_or_default().replace('\0', " ");
        let (component, call, args) = (next(), next(), next());
        *self.answer.lock().unwrap() = (next().parse().unwrap_or(0), next());
        let handle = self.handles[usize::from(component == "1")];
        for flags in [0, AIRSSYS_MESSAGE_PACKED_LISTS] {
            let with = With { timeout_ms: 5000, flags, ..With::default() };
            if let Ok(json) = sound(self.engine.invoke_text(handle, &call, &args, with)) {
                let result: Result<Value, _> = serde_json::from_str(&json);
                assert!(result.is_ok(), "not JSON: {json}");
            }
        }
        // Whatever it did, the component works on.
        *self.answer.lock().unwrap() = (AIRSSYS_OK, "3".to_owned());
        eventually("it works", || {
            let sum = self.engine.invoke(self.handles[0], "add", &json!([1, 2]));
            let count = self.engine.invoke(
                self.handles[1],
                "editor:plugin/commands#line-count",
                &json!([]),
            );
            (sum.ok()? == 3 && count.ok()? == 3).then_some(())
        });
    }
}

/// The JSON of a value of a type; now and then of another.
fn made(ty: &Value, types: &Value, random: &mut Random, depth: usize) -> String {
    if random.one_in(40) || depth > MAX_DEPTH {
        return (*random.pick(&ODD)).to_owned();
    }
    let inner = |ty: &Value, random: &mut Random| made(ty, types, random, depth + 1);
    if let Some(name) = ty.as_str() {
        return primitive(name, random);
    }
    let Some(entry) = ty.as_u64().map(|at| &types[at as usize]) else { return "null".into() };
    let named = |key: &str| entry[key].as_array().cloned().unwrap_or_default();
    match entry["kind"].as_str().unwrap_or_default() {
        "list" => {
            let count = if random.one_in(20) { random.below(2000) } else { random.below(4) };
            let all = (0..count).map(|_| inner(&entry["type"], random)).collect::<Vec<_>>();
            format!("[{}]", all.join(","))
        }
        "record" => {
            let field = |it: &Value| format!("{}:{}", it["name"], inner(&it["type"], random));
            format!("{{{}}}", named("fields").iter().map(field).collect::<Vec<_>>().join(","))
        }
        "tuple" => {
            let all = named("types").iter().map(|it| inner(it, random)).collect::<Vec<_>>();
            format!("[{}]", all.join(","))
        }
        "option" => match random.below(3) {
            0 => "null".into(),
            1 => inner(&entry["type"], random),
            _ => format!("{{\"some\":{}}}", inner(&entry["type"], random)),
        },
        "result" => {
            let side = if random.one_in(2) { "ok" } else { "err" };
            format!("{{\"{side}\":{}}}", inner(&entry[side], random))
        }
        "variant" => {
            let cases = named("cases");
            let case = random.pick(&cases);
            match &case["type"] {
                Value::Null => case["name"].to_string(),
                ty => format!("{{{}:{}}}", case["name"], inner(ty, random)),
            }
        }
        "enum" => random.pick(&named("cases"))["name"].to_string(),
        "flags" => {
            let flags = named("flags");
            let set = flags.iter().filter(|_| random.one_in(2)).map(|it| it["name"].to_string());
            format!("[{}]", set.collect::<Vec<_>>().join(","))
        }
        // A handle.
        _ => random.below(8).to_string(),
    }
}

fn primitive(name: &str, random: &mut Random) -> String {
    match name {
        "bool" => random.one_in(2).to_string(),
        "string" => json!("grüße\u{1}\"\\".repeat(random.below(4))).to_string(),
        "char" => json!(random.pick(&["a", "ß", "\u{10ffff}", "ab", ""])).to_string(),
        "f32" | "f64" => {
            random.pick(&["0.1", "-0", "1e308", "\"NaN\"", "\"-Infinity\"", "7"]).to_string()
        }
        _ if random.one_in(2) => random.below(100).to_string(),
        _ => format!("{}{}", if random.one_in(2) { "-" } else { "" }, random.number()),
    }
}

/// A text with a part left out, repeated, or replaced.
fn spoilt(text: String, random: &mut Random) -> String {
    let mut letters: Vec<char> = text.chars().collect();
    for _ in 0..=random.below(3) {
        if letters.is_empty() {
            break;
        }
        let start = random.below(letters.len());
        let end = letters.len().min(start + random.below(8));
        match random.below(3) {
            0 => drop(letters.drain(start..end)),
            1 => {
                let part = letters[start..end].repeat(random.below(50));
                letters.splice(end..end, part);
            }
            _ => {
                let odd = random.pick(&ODD).chars();
                letters.splice(start..end, odd);
            }
        }
    }
    letters.into_iter().collect()
}
