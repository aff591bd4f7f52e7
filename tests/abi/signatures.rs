//! Signed binaries, and the refusal of all others.

use std::path::Path;
use std::process::Command;

use airssys_wasm::*;
use airssys_wasm_guests::bytes;
use ed25519_dalek::{Signer, SigningKey};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::harness::engine::{Config, Engine, Failure};

const ID: &str = "app/it/0";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn public(key: &SigningKey) -> String {
    hex(key.verifying_key().as_bytes())
}

fn signature(key: &SigningKey, binary: &[u8]) -> String {
    hex(&key.sign(&Sha256::digest(binary)).to_bytes())
}

fn options(signature: &str) -> String {
    json!({ "signature": signature }).to_string()
}

fn trusting(keys: &[String], required: bool) -> Engine {
    let config = json!({ "trusted-keys": keys, "require-signature": required });
    Config::new().with(&config.to_string()).engine()
}

fn refused(failure: Failure, words: &str) {
    assert_eq!(failure.status, AIRSSYS_ERROR_INVALID_COMPONENT, "{failure}");
    assert!(failure.message.contains(words), "{failure}");
    assert_eq!(failure.detail["component"], ID, "{failure}");
}

#[test]
fn a_signed_binary_loads_and_names_its_signer() {
    let (ours, theirs, echo) = (key(1), key(2), bytes("echo"));
    let engine = trusting(&[public(&theirs), public(&ours)], true);
    let signed = options(&signature(&ours, &echo));
    // The second load finds the compiled binary.
    for _ in 0..2 {
        let it = engine.try_load(ID, &echo, Some(&signed)).unwrap();
        assert_eq!(engine.describe(it).unwrap()["binary"]["signer"], public(&ours));
        assert_eq!(engine.text(it, "hello"), "hello");
    }
    let theirs = options(&signature(&theirs, &echo).to_uppercase());
    engine.try_load(ID, &echo, Some(&theirs)).unwrap();
}

#[test]
fn nothing_else_loads_and_nothing_else_is_compiled() {
    let (ours, other) = (key(1), key(2));
    let (echo, counter) = (bytes("echo"), bytes("counter"));
    let engine = trusting(&[public(&ours)], true);
    let mut broken = key(1).sign(&Sha256::digest(&echo)).to_bytes();
    broken[40] ^= 1;
    let none_made_it = "not made for this binary by any of the 1 trusted-keys";
    for signature in [hex(&broken), signature(&ours, &counter), signature(&other, &echo)] {
        refused(engine.try_load(ID, &echo, Some(&options(&signature))).unwrap_err(), none_made_it);
    }
    // The text of the digest is another message than the digest.
    let text = hex(&ours.sign(hex(&Sha256::digest(&echo)).as_bytes()).to_bytes());
    refused(engine.try_load(ID, &echo, Some(&options(&text))).unwrap_err(), none_made_it);
    refused(engine.try_load(ID, &echo, None).unwrap_err(), "it is not signed");
    for malformed in ["", "00", &"0".repeat(127), &"0".repeat(129), &"g".repeat(128)] {
        let failure = engine.try_load(ID, &echo, Some(&options(malformed))).unwrap_err();
        assert_eq!(failure.status, AIRSSYS_ERROR_INVALID_OPTIONS, "{failure}");
        assert_eq!(failure.detail["place"], "options.signature");
        assert!(failure.message.contains("128 hexadecimal digits expected"), "{failure}");
    }
    assert_eq!(engine.stats()["binaries"], 0);
}

#[test]
fn an_unsigned_binary_loads_where_none_need_be_signed() {
    let echo = bytes("echo");
    let engine = trusting(&[public(&key(1))], false);
    let it = engine.try_load(ID, &echo, None).unwrap();
    assert!(engine.describe(it).unwrap()["binary"]["signer"].is_null());
    let wrong = options(&signature(&key(2), &echo));
    refused(engine.try_load(ID, &echo, Some(&wrong)).unwrap_err(), "any of the 1 trusted-keys");
    let wrong = engine.replace(it, &echo, Some(&wrong)).unwrap_err();
    refused(wrong, "any of the 1 trusted-keys");
    let engine = Engine::new();
    let signed = options(&signature(&key(1), &echo));
    let failure = engine.try_load(ID, &echo, Some(&signed)).unwrap_err();
    refused(failure, "the engine has no trusted-keys");
}

#[test]
fn replacements_need_a_signature_and_rollbacks_do_not() {
    let (ours, echo, counter) = (key(1), bytes("echo"), bytes("counter"));
    let engine = trusting(&[public(&ours)], true);
    let signed = |binary: &[u8]| options(&signature(&ours, binary));
    let it = engine.try_load(ID, &echo, Some(&signed(&echo))).unwrap();
    refused(engine.replace(it, &counter, None).unwrap_err(), "it is not signed");
    let failure = engine.replace(it, &counter, Some(&signed(&echo))).unwrap_err();
    refused(failure.clone(), "app/it/0 keeps version 1");
    assert_eq!(failure.detail["version"], 1);
    engine.replace(it, &counter, Some(&signed(&counter))).unwrap();
    assert_eq!(engine.text(it, "inc"), "1");
    // The binary stays, and so does who signed it.
    engine.reconfigure(it, r#"{"env": {"A": "1"}}"#).unwrap();
    engine.reconfigure(it, &signed(&counter)).unwrap();
    refused(engine.reconfigure(it, &signed(&echo)).unwrap_err(), "not made for this binary");
    assert_eq!(engine.describe(it).unwrap()["binary"]["signer"], public(&ours));
    engine.roll_back(it).unwrap();
    engine.roll_back(it).unwrap();
    assert_eq!(engine.describe(it).unwrap()["binary"]["signer"], public(&ours));
}

#[test]
fn a_cached_binary_is_checked_like_any_other() {
    let (ours, echo) = (key(1), bytes("echo"));
    let directory = tempfile::tempdir().unwrap();
    let config = || {
        let keys = json!({ "cache-dir": directory.path().join("cache"),
                           "trusted-keys": [public(&ours)] });
        Config::bare().with(&keys.to_string())
    };
    config().engine().try_load(ID, &echo, None).unwrap();
    let engine = config().with(r#"{"require-signature": true}"#).engine();
    refused(engine.try_load(ID, &echo, None).unwrap_err(), "it is not signed");
    let signed = options(&signature(&ours, &echo));
    let it = engine.try_load(ID, &echo, Some(&signed)).unwrap();
    assert_eq!(engine.describe(it).unwrap()["binary"]["signer"], public(&ours));
    assert_eq!(engine.stats()["cache"]["hits"], 1);
}

#[test]
fn a_bad_key_is_named() {
    let good = public(&key(1));
    let (neutral, no_point) = (format!("01{}", "0".repeat(62)), format!("02{}", "0".repeat(62)));
    for (bad, words) in [
        ("zz", "64 hexadecimal digits expected"),
        (&good[1..], "64 hexadecimal digits expected"),
        (&neutral, "is no public key of Ed25519: it has a small order"),
        (&no_point, "is no public key of Ed25519: it is no point of the curve"),
    ] {
        let keys = json!({ "trusted-keys": [good, good, bad] }).to_string();
        let failure = Config::bare().set(&keys).unwrap_err();
        assert_eq!(failure.status, AIRSSYS_ERROR_INVALID_OPTIONS, "{failure}");
        assert_eq!(failure.detail["place"], "config.trusted-keys[2]");
        assert!(failure.message.contains(words), "{failure}");
    }
    let many = json!({ "trusted-keys": vec![good; 257] }).to_string();
    let failure = Config::bare().set(&many).unwrap_err();
    assert!(failure.message.contains("at most 256"), "{failure}");
}

#[test]
fn a_configuration_that_accepts_no_binary_is_refused() {
    let config = Config::bare().with(r#"{"require-signature": true}"#);
    let failure = config.try_engine().err().expect("no binary could be loaded");
    assert_eq!(failure.status, AIRSSYS_ERROR_INVALID_OPTIONS);
    assert_eq!(failure.detail["place"], "config.require-signature");
    let config = config.with(&json!({ "trusted-keys": [public(&key(1))] }).to_string());
    drop(config.engine());
}

/// Runs a command of OpenSSL; `None` if there is none.
fn openssl(directory: &Path, arguments: &[&str]) -> Option<Vec<u8>> {
    let output = Command::new("openssl").args(arguments).current_dir(directory).output().ok()?;
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Some(output.stdout)
}

#[test]
fn openssl_signs_binaries() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    if openssl(path, &["genpkey", "-algorithm", "ed25519", "-out", "key.pem"]).is_none() {
        eprintln!("skipped: there is no openssl");
        return;
    }
    let run = |arguments: &[&str]| openssl(path, arguments).unwrap();
    let public = run(&["pkey", "-in", "key.pem", "-pubout", "-outform", "DER"]);
    let engine = trusting(&[hex(&public[public.len() - 32..])], true);
    std::fs::write(path.join("echo.wasm"), bytes("echo")).unwrap();
    run(&["dgst", "-sha256", "-binary", "-out", "digest", "echo.wasm"]);
    let made = run(&["pkeyutl", "-sign", "-inkey", "key.pem", "-rawin", "-in", "digest"]);
    engine.try_load(ID, &bytes("echo"), Some(&options(&hex(&made)))).unwrap();
}
