//! JSON documents: configurations, options, grants and policies.

use airssys_wasm::*;
use serde_json::{Map, Value, json};

use crate::harness::engine::{Config, Engine, Outcome, c, check};
use crate::harness::log::set_logger;
use crate::random::Random;
use crate::target::{Target, sound};

/// Valid documents. The first line of every input names the kind of document.
const SEEDS: [&str; 6] = [
    include_str!("../corpus/documents/config"),
    include_str!("../corpus/documents/load-options"),
    include_str!("../corpus/documents/group-options"),
    include_str!("../corpus/documents/grants"),
    include_str!("../corpus/documents/grants-long"),
    include_str!("../corpus/documents/policies"),
];

/// Words that are meaningful somewhere.
const WORDS: [&str; 20] = [
    "**",
    "*",
    "app/**/x",
    "a/b/c",
    "/",
    "",
    "send",
    "read",
    "block",
    "drop-oldest",
    "json",
    "*.example.com:443",
    "[::1]:0",
    "10.0.0.0/33",
    "\u{0}",
    "\u{1F600}",
    "deny",
    "../..",
    "storage.read",
    "%",
];

pub struct Documents {
    engine: Engine,
    handle: u64,
}

impl Documents {
    pub fn new() -> Self {
        let config = Config::bare();
        set_logger(&config, AIRSSYS_LOG_ERROR, |_| {});
        let engine = config.engine();
        let handle = engine.load("fuzz/guest/0", "minimal");
        Self { engine, handle }
    }

    fn hand_over(&self, kind: &str, text: &str) -> Outcome {
        match kind {
            "config" => Config::bare().set(text),
            "load-options" => {
                let minimal = b"\0asm\x0d\0\x01\0";
                let handle = self.engine.try_load("fuzz/other/0", minimal, Some(text))?;
                self.engine.describe(handle)?;
                self.engine.unload(handle)
            }
            "group-options" => {
                let group = self.engine.add_group("fuzz", text)?;
                self.engine.status(group)?;
                self.engine.unload(group)
            }
            "policies" => {
                self.engine.set_policies(text)?;
                self.engine.explain(self.handle, "storage.read", "app/a/0")?;
                self.engine.set_policies(r#"{"rules": []}"#)
            }
            _ => {
                self.engine.grant(self.handle, text)?;
                self.engine.describe(self.handle)?;
                self.engine.explain(self.handle, "messaging.send", "app/a/0")?;
                self.engine.revoke(self.handle, Some(text))?;
                self.engine.revoke(self.handle, None)
            }
        }
    }
}

impl Target for Documents {
    fn input(&self, random: &mut Random) -> Vec<u8> {
        let (head, text) = random.pick(&SEEDS).split_once('\n').expect("a head");
        if random.one_in(32) {
            return format!("{head}\n{text}").into_bytes();
        }
        let kind = head.split(' ').next().unwrap_or_default();
        let mut document: Value = serde_json::from_str(text).expect("JSON");
        for _ in 0..=random.below(3) {
            change(&mut document, random);
        }
        let mut text = document.to_string().into_bytes();
        if random.one_in(4) {
            for _ in 0..=random.below(3) {
                let at = random.below(text.len());
                match random.below(3) {
                    0 => text[at] = *random.pick(b"{}[]\",:\\0-e.9\xff"),
                    1 => drop(text.drain(at..)),
                    _ => text.insert(at, *random.pick(b"{}[]\",:\\0-e.9\xff")),
                }
                text.push(b' ');
            }
        }
        [kind.as_bytes(), b"\n", &text].concat()
    }

    fn run(&mut self, input: &[u8]) {
        let at = input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len());
        let (head, text) =
            (String::from_utf8_lossy(&input[..at]), &input[(at + 1).min(input.len())..]);
        let kind = head.split(' ').next().unwrap_or_default();
        let Ok(text) = std::str::from_utf8(text) else {
            let text = c(&String::from_utf8_lossy(text).replace(['\0', '\u{fffd}'], "x"));
            let mut bytes = text.into_bytes();
            bytes.push(0xff);
            bytes.push(0);
            let engine = self.engine.raw();
            // SAFETY: a live engine and NUL-terminated bytes.
            let set = check(|error| unsafe {
                airssys_engine_set_policies(engine, bytes.as_ptr().cast(), error)
            });
            assert_eq!(sound(set).unwrap_err().status, AIRSSYS_ERROR_INVALID_ARGUMENT);
            return;
        };
        if text.contains('\0') {
            return;
        }
        let outcome = sound(self.hand_over(kind, text));
        match outcome {
            Ok(()) => assert!(is_object_or_list(text), "{text}"),
            Err(failure) => {
                assert!(!head.contains("accepted"), "{kind}: {failure}\n{text}");
                if failure.status == AIRSSYS_ERROR_INVALID_OPTIONS {
                    let place = failure.detail["place"].as_str();
                    assert!(place.is_some(), "no place: {failure}\n{text}");
                }
            }
        }
    }
}

fn is_object_or_list(text: &str) -> bool {
    serde_json::from_str::<Value>(text)
        .is_ok_and(|value| value.is_object() || value.is_array() || value.is_null())
}

fn any(random: &mut Random) -> Value {
    match random.below(9) {
        0 => Value::Null,
        1 => json!(random.one_in(2)),
        2 => json!(random.number()),
        3 => json!(-(random.below(1000) as i64)),
        4 => json!(random.next() as f64 / 1e6),
        5 => json!([]),
        6 => json!({}),
        7 => json!(random.pick(&WORDS).repeat(1 + random.below(3))),
        _ => {
            let depth = random.below(200);
            (0..depth).fold(json!(1), |inner, _| json!([inner]))
        }
    }
}

/// Changes one part of a document.
fn change(document: &mut Value, random: &mut Random) {
    let leaf = match document {
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        _ => true,
    };
    if leaf || random.one_in(6) {
        change_here(document, random);
        return;
    }
    match document {
        Value::Array(items) => {
            let at = random.below(items.len());
            change(&mut items[at], random);
        }
        Value::Object(members) => {
            let at = random.below(members.len());
            if let Some(member) = members.values_mut().nth(at) {
                change(member, random);
            }
        }
        _ => {}
    }
}

fn change_here(document: &mut Value, random: &mut Random) {
    match document {
        Value::Object(members) if !members.is_empty() && !random.one_in(4) => {
            let key = members.keys().nth(random.below(members.len())).cloned().unwrap_or_default();
            match random.below(4) {
                0 => drop(members.remove(&key)),
                1 => drop(members.insert(random.pick(&WORDS).to_string(), any(random))),
                2 => {
                    let mut typo = key.clone();
                    typo.push('s');
                    let value = members.remove(&key).unwrap_or_default();
                    members.insert(typo, value);
                }
                _ => {
                    let other: Map<_, _> = members.clone();
                    members.insert(key, Value::Object(other));
                }
            }
        }
        Value::Array(items) if !items.is_empty() && !random.one_in(4) => match random.below(3) {
            0 => drop(items.pop()),
            1 => items.push(any(random)),
            _ => {
                let copies = 1 + random.below(50);
                *items = std::iter::repeat_n(items.clone(), copies).flatten().collect();
            }
        },
        Value::Number(_) if !random.one_in(3) => *document = json!(random.number()),
        Value::String(text) if !random.one_in(3) => {
            let mut word: Vec<char> = text.chars().collect();
            let at = random.below(word.len() + 1);
            word.insert(at, *random.pick(&['*', '/', ':', '.', '-', 'x', '\u{e4}', '[']));
            *text = word.into_iter().collect();
        }
        other => *other = any(random),
    }
}
