//! Binaries: what is refused, and what is compiled once.

use airssys_wasm::*;

use crate::harness::engine::{Config, Engine, Failure};

fn refused(engine: &Engine, wasm: &[u8]) -> Failure {
    let failure = engine.try_load("app/bad/0", wasm, None).expect_err("it can not be loaded");
    assert_eq!(failure.status, AIRSSYS_ERROR_INVALID_COMPONENT, "{failure}");
    assert_eq!(failure.detail["component"], "app/bad/0", "{failure}");
    failure
}

#[test]
fn bytes_that_are_not_a_component_are_refused_with_a_reason() {
    let engine = Config::bare().with(r#"{"max-component-bytes": 100000}"#).engine();
    let module = wat::parse_str("(module)").unwrap();
    for (wasm, reason) in [
        (&b""[..], "empty"),
        (b"\0", "does not start"),
        (b"\0asm", "ends after 4 bytes"),
        (b"\0asm\x0d\0\x01", "ends after 7 bytes"),
        (&module, "core module"),
        (b"(component)", "text"),
        (b"\x7fELF\x02\x01\x01\0 and so on", "does not start"),
        (b"\0asm\x0d\0\x02\0", ""),
        (&[0x5a; 5000], "does not start"),
        (&[0; 100_001], "max-component-bytes 100000"),
    ] {
        let failure = refused(&engine, wasm);
        assert!(failure.message.contains(reason), "{reason}: {failure}");
    }
    assert_eq!(engine.stats()["binaries"], 0, "a binary that does not compile is not kept");
    let limit = airssys_wasm_guests::bytes("echo");
    engine.try_load("app/echo/0", &limit, None).unwrap();
}

#[test]
fn a_binary_of_exactly_the_maximum_size_is_loaded() {
    let wasm = airssys_wasm_guests::bytes("echo");
    let limit = |bytes: usize| {
        Config::bare().with(&format!(r#"{{"max-component-bytes": {bytes}}}"#)).engine()
    };
    limit(wasm.len()).try_load("app/echo/0", &wasm, None).unwrap();
    let failure = refused(&limit(wasm.len() - 1), &wasm);
    assert!(failure.message.contains(&(wasm.len() - 1).to_string()), "{failure}");
}

#[test]
fn a_truncated_binary_is_refused_wherever_it_ends() {
    let engine = Engine::bare();
    let wasm = airssys_wasm_guests::bytes("echo");
    let ends = (1..16).map(|n| wasm.len() * n / 16).chain([9, 20, wasm.len() - 1]);
    for end in ends {
        refused(&engine, &wasm[..end]);
    }
}

#[test]
fn a_corrupt_binary_is_refused_or_runs_and_breaks_nothing() {
    let engine = Engine::bare();
    let echo = engine.load("app/echo/0", "echo");
    let wasm = airssys_wasm_guests::bytes("counter");
    let options = r#"{"limits": {"max-execution-time-ms": 200}}"#;
    let mut refusals = 0;
    for n in 0..60 {
        let mut corrupt = wasm.clone();
        let place = 8 + (wasm.len() - 8) * n / 60;
        corrupt[place] ^= 1 << (n % 8);
        match engine.try_load("app/corrupt/0", &corrupt, Some(options)) {
            // A flipped bit in a name or a constant is still a component.
            Ok(handle) => {
                let _ = engine.call(handle, "inc");
                let _ = engine.unload(handle);
            }
            Err(failure) => {
                assert_ne!(failure.status, AIRSSYS_ERROR_PANIC, "byte {place}: {failure}");
                refusals += 1;
            }
        }
    }
    assert!(refusals > 5, "only {refusals} were refused");
    assert_eq!(engine.text(echo, "still here"), "still here");
}

#[test]
fn files_are_loaded_and_their_errors_name_the_path() {
    let engine = Engine::bare();
    let file = airssys_wasm_guests::component("echo");
    let handle = engine.try_load_file("app/echo/0", file.to_str().unwrap()).unwrap();
    assert_eq!(engine.text(handle, "from a file"), "from a file");
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing.wasm");
    for path in [missing.to_str().unwrap(), directory.path().to_str().unwrap(), ""] {
        let failure = engine.try_load_file("app/echo/1", path).unwrap_err();
        assert_eq!(failure.status, AIRSSYS_ERROR_IO, "{failure}");
        assert_eq!(failure.detail["path"], path);
        assert!(failure.message.contains(path), "{failure}");
    }
}

#[test]
fn special_files_are_not_read() {
    let engine = Engine::bare();
    let directory = tempfile::tempdir().unwrap();
    let pipe = directory.path().join("pipe");
    let name = std::ffi::CString::new(pipe.to_str().unwrap()).unwrap();
    // SAFETY: a NUL-terminated text.
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
    let link = directory.path().join("link");
    std::os::unix::fs::symlink("/dev/zero", &link).unwrap();
    let (pipe, link) = (pipe.to_str().unwrap(), link.to_str().unwrap());
    for path in [pipe, link, "/dev/zero", "/dev/null", "/dev/tty", "/dev/stdin"] {
        let failure = engine.try_load_file("app/echo/0", path).expect_err(path);
        assert_eq!(failure.status, AIRSSYS_ERROR_IO, "{failure}");
    }
    // The system generates these. Reading the first one blocks forever.
    for path in ["/proc/kmsg", "/proc/self/status"] {
        let failure = engine.try_load_file("app/echo/0", path).expect_err(path);
        assert_eq!(failure.status, AIRSSYS_ERROR_IO, "{failure}");
        assert!(failure.message.contains("in procfs, whose files the system generates"));
    }
}

#[test]
fn a_binary_is_compiled_once_for_all_that_load_it() {
    let engine = Engine::bare();
    let handles: Vec<u64> = (0..5).map(|n| engine.load(&format!("app/echo/{n}"), "echo")).collect();
    assert_eq!(engine.stats()["binaries"], 1);
    assert_eq!(engine.stats()["components"], 5);
    engine.load("app/counter/0", "counter");
    assert_eq!(engine.stats()["binaries"], 2);
    for handle in handles {
        engine.unload(handle).unwrap();
    }
    let again = engine.load("app/echo/0", "echo");
    assert_eq!(engine.text(again, "x"), "x");
    assert_eq!(engine.stats()["binaries"], 2, "it was kept for this load");
}

/// A component that is different for each number.
fn numbered(n: usize) -> Vec<u8> {
    let text = format!("(component (core module (memory {n})))");
    wat::parse_str(text).unwrap()
}

#[test]
fn unused_binaries_do_not_pile_up() {
    let engine = Engine::bare();
    let used = engine.load("app/echo/0", "echo");
    for n in 0..80 {
        let handle = engine.try_load("app/numbered/0", &numbered(n), None).unwrap();
        engine.unload(handle).unwrap();
    }
    let kept = engine.stats()["binaries"].as_u64().unwrap();
    assert!((1..=40).contains(&kept), "{kept} are kept");
    assert_eq!(engine.text(used, "in use"), "in use");
    assert_eq!(engine.load("app/echo/1", "echo"), used + 81);
    let all: Vec<u64> =
        (0..60).map(|n| engine.try_load("app/numbered/0", &numbered(n), None).unwrap()).collect();
    assert!(engine.stats()["binaries"].as_u64().unwrap() >= 61, "binaries in use are kept");
    assert_eq!(all.len(), 60);
}

/// Nested empty components.
fn nested(depth: usize) -> Vec<u8> {
    const HEADER: [u8; 8] = *b"\0asm\x0d\0\x01\0";
    let mut binary = HEADER.to_vec();
    for _ in 0..depth {
        let mut outer = HEADER.to_vec();
        // Section 4 is a component, preceded by its size.
        outer.push(4);
        outer.extend_from_slice(unsigned_varint::encode::usize(
            binary.len(),
            &mut unsigned_varint::encode::usize_buffer(),
        ));
        outer.append(&mut binary);
        binary = outer;
    }
    binary
}

#[test]
fn nesting_deeper_than_toolchains_make_is_refused_early() {
    let engine = Engine::bare();
    engine.try_load("app/nested/0", &nested(64), None).unwrap();
    for depth in [65, 20_000] {
        let failure = refused(&engine, &nested(depth));
        assert_eq!(failure.detail["limit"], "compile.max-component-depth", "{failure}");
    }
    let wide = format!("(component {})", "(component)".repeat(1001));
    let failure = refused(&engine, &wat::parse_str(wide).unwrap());
    assert_eq!(failure.detail["limit"], "compile.max-components", "{failure}");
}
