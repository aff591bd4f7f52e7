//! Self-describing payloads, and receivers that declare their codecs.

use airssys_wasm::*;
use serde_json::json;

use crate::harness::engine::{Engine, NO_BYTES, Outcome, With, c, check, take};
use crate::harness::requests::Inbox;
use crate::harness::router::Letter;

fn prefix(code: u64, payload: &[u8]) -> Outcome<Vec<u8>> {
    let mut out = NO_BYTES;
    // SAFETY: bytes, and outputs that are valid for writing.
    check(|error| unsafe {
        airssys_codec_prefix(code, payload.as_ptr(), payload.len(), &raw mut out, error)
    })?;
    Ok(take(out).expect("bytes"))
}

fn read(payload: &[u8]) -> Outcome<(u64, usize)> {
    let (mut code, mut len) = (0, 0);
    // SAFETY: bytes, and outputs that are valid for writing.
    check(|error| unsafe {
        let (data, size) = (payload.as_ptr(), payload.len());
        airssys_codec_read(data, size, &raw mut code, &raw mut len, error)
    })?;
    Ok((code, len))
}

fn code_of(name: &str) -> Outcome<u64> {
    let (name, mut code) = (c(name), 0);
    // SAFETY: text, and outputs that are valid for writing.
    check(|error| unsafe { airssys_codec_code(name.as_ptr(), &raw mut code, error) })?;
    Ok(code)
}

#[test]
fn a_prefix_is_read_back() {
    for code in [0, 0x51, 0x7f, 0x80, 0x3fff, 0x4000, 0x30_6269, (1 << 63) - 1] {
        let payload = prefix(code, b"data").unwrap();
        let (read_code, len) = read(&payload).unwrap();
        assert_eq!(read_code, code);
        assert_eq!(&payload[len..], b"data");
    }
    assert_eq!(prefix(1 << 63, b"").unwrap_err().status, AIRSSYS_ERROR_INVALID_ARGUMENT);
    for bad in [&b""[..], b"\x80", b"\x80\x00", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"] {
        assert_eq!(read(bad).unwrap_err().status, AIRSSYS_ERROR_INVALID_MESSAGE, "{bad:?}");
    }
    assert_eq!(code_of("cbor"), Ok(AIRSSYS_CODEC_CBOR));
    assert!(code_of("CBOR").unwrap_err().message.contains("dag-cbor"));
}

#[test]
fn a_receiver_gets_only_the_codecs_it_declares() {
    let engine = Engine::new();
    let options = r#"{"codecs": ["cbor", "json"], "mailbox": {"when-full": "block"}}"#;
    let echo = engine.load_with("app/echo/0", "echo", options);
    assert_eq!(engine.describe(echo).unwrap()["codecs"], json!(["cbor", "json"]));
    let bad = prefix(AIRSSYS_CODEC_MESSAGEPACK, b"\x80").unwrap();
    let inbox = Inbox::new();
    let letter = Letter {
        source: "far/away/0".into(),
        target: "app/echo/0".into(),
        payload: bad.clone(),
        ..Letter::default()
    };
    for outcome in [
        engine.call(echo, &bad).map(drop),
        engine.send(echo, &bad),
        engine.request(echo, &bad, inbox).map(drop),
        engine.deliver(&letter, None).map(drop),
        engine.deliver(&Letter { request: true, ..letter.clone() }, Some(inbox)).map(drop),
    ] {
        let failure = outcome.unwrap_err();
        assert_eq!(failure.status, AIRSSYS_ERROR_INVALID_MESSAGE, "{failure}");
        assert_eq!(failure.detail["codec"], "messagepack", "{failure}");
        assert_eq!(failure.detail["accepted"], json!(["cbor", "json"]), "{failure}");
        for name in ["app/echo/0", "messagepack", "cbor", "json"] {
            assert!(failure.message.contains(name), "{failure}");
        }
    }
    let failure = engine.broadcast(&[echo], &bad, With::default()).unwrap_err();
    assert_eq!(failure.detail["failed"][0]["status"], AIRSSYS_ERROR_INVALID_MESSAGE);
    let messages = engine.describe(echo).unwrap()["messages"].clone();
    assert_eq!((&messages["refused"], &messages["accepted"]), (&json!(6), &json!(0)));
    for code in [AIRSSYS_CODEC_CBOR, AIRSSYS_CODEC_JSON] {
        let good = prefix(code, b"\x01").unwrap();
        assert_eq!(engine.call(echo, &good), Ok(Some(good.clone())), "nothing is translated");
    }
    // A prefix outside the table proves nothing.
    for plain in [&b""[..], br#"{"a": 1}"#, b"\xff\xff"] {
        engine.call(echo, plain).unwrap();
    }
    assert!(inbox.all().is_empty());
}

#[test]
fn a_component_that_sends_an_undeclared_codec_gets_an_error() {
    let engine = Engine::new();
    engine.load_with("app/echo/0", "echo", r#"{"codecs": ["cbor"]}"#);
    let asker = engine.load("app/asker/0", "requester");
    for command in ["send app/echo/0 ", "request app/echo/0 60000 ", "broadcast app/echo/0 "] {
        // `p` is the prefix of dag-pb.
        let reply = engine.text(asker, &format!("{command}payload"));
        for part in ["error: ", "app/echo/0", "dag-pb", "cbor"] {
            assert!(reply.contains(part), "{command}: {reply}");
        }
        if !command.starts_with("broadcast") {
            assert!(reply.starts_with("error: invalid-message("), "{reply}");
        }
        assert!(!engine.text(asker, &format!("{command}Quite")).starts_with("error"), "cbor");
    }
    assert_eq!(engine.callbacks(asker, 1).len(), 1, "what was refused has no outcome");
}

#[test]
fn a_receiver_that_declares_nothing_takes_everything() {
    let engine = Engine::new();
    let echo = engine.load_with("app/echo/0", "echo", r#"{"codecs": []}"#);
    for code in [AIRSSYS_CODEC_CBOR, AIRSSYS_CODEC_BORSH, AIRSSYS_CODEC_SSZ] {
        let payload = prefix(code, b"x").unwrap();
        assert_eq!(engine.call(echo, &payload), Ok(Some(payload.clone())));
    }
}

#[test]
fn unknown_codecs_are_refused_at_load() {
    let engine = Engine::new();
    let wasm = airssys_wasm_guests::bytes("echo");
    for codecs in [r#"["cbro"]"#, r#"["JSON"]"#, "[1]", r#""cbor""#, "{}"] {
        let options = format!(r#"{{"codecs": {codecs}}}"#);
        let failure = engine.try_load("app/echo/0", &wasm, Some(&options)).unwrap_err();
        assert_eq!(failure.status, AIRSSYS_ERROR_INVALID_OPTIONS, "{codecs}");
        let place = failure.detail["place"].as_str().unwrap();
        assert!(place.starts_with("options.codecs"), "{failure}");
    }
}
