//! The maximum host memory that a component can occupy, function by function.
//!
//! Each attack runs in its own process. The component has 64 MiB and has touched all of it. The
//! figure is the peak memory of the process beyond the memory before the attack.

mod common;

use std::fs;
use std::process::Command;

use common::host::Host;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// The limits on a component's memory and on its host memory.
const LIMIT_MIB: u64 = 64;
const PAGES: u64 = LIMIT_MIB * 16;

/// The attacker's arguments point to nearly all of its memory.
const AT: &str = "(i32.const 65536)";
/// The most that it can pass in one call and in one message.
const MOST: &str = "(i32.const 33000000)";
const MESSAGE: &str = "(i32.const 16777216)";
const OWN_ID: &str =
    "(i32.const 1024) (i32.const 1) (i32.const 1024) (i32.const 1) (i32.const 1024) (i32.const 1)";
const RESULT: &str = "(i32.const 512)";

const MESSAGING: &str = "airssys:core/host-messaging@1.0.0";
const SERVICES: &str = "airssys:core/host-services@1.0.0";
const STORAGE: &str = "airssys:core/storage@1.0.0";

/// An attack: its name, its imports and its code.
struct Attack {
    name: &'static str,
    import: String,
    /// Runs for each message.
    handler: String,
    /// The code of exports, by name. The others return nothing.
    answers: Vec<(&'static str, String)>,
    texts: StringEncoding,
}

impl Attack {
    fn import(
        name: &'static str,
        interface: &str,
        parameters: &str,
        call: &str,
        times: u32,
    ) -> Self {
        let function = name.split(' ').next().unwrap_or(name);
        let import =
            format!(r#"(import "{interface}" "{function}" (func $f (param {parameters})))"#);
        let handler = format!(
            "(local.set $n (i32.const 0))
             (loop $again {call}
               (local.set $n (i32.add (local.get $n) (i32.const 1)))
               (br_if $again (i32.lt_u (local.get $n) (i32.const {times}))))"
        );
        Self { name, import, handler, answers: Vec::new(), texts: StringEncoding::UTF8 }
    }

    fn export(name: &'static str, export: &'static str, answer: &str) -> Self {
        Self {
            name,
            import: String::new(),
            handler: String::new(),
            answers: vec![(export, answer.into())],
            texts: StringEncoding::UTF8,
        }
    }

    /// With strings that take twice as much in UTF-8.
    fn in_latin1(self) -> Self {
        Self { texts: StringEncoding::CompactUTF16, ..self }
    }

    fn component(&self) -> Vec<u8> {
        let Self { import, handler, .. } = self;
        let lifecycle = "airssys:core/component-lifecycle@1.0.0";
        let answer = |export: &str| {
            let answer = self.answers.iter().find(|(of, _)| *of == export);
            answer.map_or("", |(_, answer)| answer)
        };
        let code = format!(
            r#"(module {import}
  (memory (export "memory") {PAGES})
  (data (i32.const 1024) "a")
  (global $free (mut i32) (i32.const 4096))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
    (global.set $free (i32.add (local.get $at) (local.get 3)))
    (if (i32.gt_u (global.get $free) (i32.const 60000))
      (then (global.set $free (i32.const 4096)) (local.set $at (i32.const 65536))))
    (local.get $at))
  (func (export "{lifecycle}#initialize")
    (param i32 i32 i32 i32 i32 i64 i64 i32 i64) (result i32)
    (memory.fill {AT} (i32.const 0xe9) (i32.const 67043328)) {} (i32.const 256))
  (func (export "{lifecycle}#handle-message") (param $message i32) (result i32)
    (local $n i32) {handler} {} (i32.const 256))
  (func (export "{lifecycle}#handle-callback") (param i32) (result i32) {} (i32.const 256))
  (func (export "{lifecycle}#metadata") (result i32) {} (i32.const 896))
  (func (export "{lifecycle}#health") (result i32) (i32.const 0))
  (func (export "{lifecycle}#shutdown") (result i32) {} (i32.const 256))
)"#,
            answer("initialize"),
            answer("handle-message"),
            answer("handle-callback"),
            answer("metadata"),
            answer("shutdown"),
        );
        let mut resolve = Resolve::default();
        let (package, _) =
            resolve.push_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/wit/core")).unwrap();
        let world = resolve.select_world(&[package], Some("component")).unwrap();
        let mut module = wat::parse_str(code).unwrap();
        embed_component_metadata(&mut module, &resolve, world, self.texts).unwrap();
        ComponentEncoder::default().module(&module).unwrap().validate(true).encode().unwrap()
    }
}

fn attacks() -> Vec<Attack> {
    let store = |at: u32, value: &str| format!("(i32.store (i32.const {at}) {value})");
    let text_at = |at: u32, length: &str| store(at, AT) + &store(at + 4, length);
    let reply = store(260, "(i32.const 1)") + &text_at(264, MESSAGE);
    let failed = store(256, "(i32.const 1)");
    let runtime_error = failed.clone() + &store(260, "(i32.const 6)") + &text_at(264, MOST);
    let lifecycle_error = failed + &text_at(264, MOST);
    let metadata = (0..5).map(|n| text_at(896 + 8 * n, "(i32.const 6500000)")).collect::<String>();
    let send = format!("(call $f {OWN_ID} {AT} {MESSAGE} {RESULT})");
    let request = format!("(call $f {OWN_ID} {AT} {MESSAGE} (i64.const 60000) {RESULT})");
    let many = format!("(call $f {OWN_ID} {AT} (i32.const 0) (i64.const -1) {RESULT})");
    let long_id = format!("{AT} (i32.const 10000000)").repeat(3);
    let set = format!(
        "(i32.store (i32.const 1032) (i32.add (i32.const 0x31313131) (local.get $n)))
        (call $f (i32.const 1032) (i32.const 4) {AT} {MESSAGE} {RESULT})"
    );
    let keys = format!("(i32.store (i32.const 1032) (i32.add (i32.const 0x31313131)
          (i32.add (i32.and (local.get $n) (i32.const 63))
            (i32.shl (i32.and (i32.shr_u (local.get $n) (i32.const 6)) (i32.const 63)) (i32.const 8)))))
        (i32.store8 (i32.const 1034) (i32.add (i32.const 0x31)
          (i32.and (i32.shr_u (local.get $n) (i32.const 12)) (i32.const 63))))
        (i32.store8 (i32.const 1035) (i32.add (i32.const 0x31)
          (i32.and (i32.shr_u (local.get $n) (i32.const 18)) (i32.const 63))))
        (call $f (i32.const 1032) (i32.const 4) {AT} (i32.const 0) {RESULT})");
    let import = Attack::import;
    vec![
        import("send", MESSAGING, "i32 i32 i32 i32 i32 i32 i32 i32 i32", &send, 100),
        import(
            "send (ids)",
            MESSAGING,
            "i32 i32 i32 i32 i32 i32 i32 i32 i32",
            &format!("(call $f {long_id} {AT} (i32.const 0) {RESULT})"),
            10,
        )
        .in_latin1(),
        import("request", MESSAGING, "i32 i32 i32 i32 i32 i32 i32 i32 i64 i32", &request, 100),
        import(
            "request (many)",
            MESSAGING,
            "i32 i32 i32 i32 i32 i32 i32 i32 i64 i32",
            &many,
            200_000,
        ),
        import(
            "cancel-request",
            MESSAGING,
            "i32 i32 i32",
            &format!("(call $f {AT} {MOST} {RESULT})"),
            3,
        )
        .in_latin1(),
        import(
            "broadcast",
            MESSAGING,
            "i32 i32 i32 i32 i32",
            &format!("(call $f {AT} (i32.const 10000) {AT} {MESSAGE} {RESULT})"),
            10,
        ),
        import(
            "log",
            SERVICES,
            "i32 i32 i32 i32 i32 i32",
            &format!("(call $f (i32.const 4) {AT} {MOST} (i32.const 1) {AT} (i32.const 400000))"),
            3,
        )
        .in_latin1(),
        import(
            "log (text)",
            SERVICES,
            "i32 i32 i32 i32 i32 i32",
            &format!("(call $f (i32.const 4) {AT} {MOST} (i32.const 0) {AT} {AT})"),
            10,
        )
        .in_latin1(),
        import(
            "get-component-metadata",
            SERVICES,
            "i32 i32 i32 i32 i32 i32 i32",
            &format!("(call $f {long_id} {RESULT})"),
            10,
        )
        .in_latin1(),
        import("set", STORAGE, "i32 i32 i32 i32 i32", &set, 100),
        import("set (keys)", STORAGE, "i32 i32 i32 i32 i32", &keys, 1_000_000),
        import("get", STORAGE, "i32 i32 i32", &format!("(call $f {AT} {MOST} {RESULT})"), 3)
            .in_latin1(),
        import(
            "list-keys",
            STORAGE,
            "i32 i32 i32 i32",
            &format!("(call $f (i32.const 1) {AT} {MOST} {RESULT})"),
            3,
        )
        .in_latin1(),
        Attack::export("handle-message, reply", "handle-message", &reply),
        Attack::export("handle-message, error", "handle-message", &runtime_error).in_latin1(),
        Attack::export("handle-callback, error", "handle-callback", &runtime_error).in_latin1(),
        Attack::export("metadata", "metadata", &metadata).in_latin1(),
        Attack::export("initialize, error", "initialize", &lifecycle_error).in_latin1(),
        Attack::export("shutdown, error", "shutdown", &lifecycle_error).in_latin1(),
    ]
}

/// Requests to WASI: a name, and a command of the guest `wasi`. `@` is its directory.
const REQUESTS: [(&str, &str); 8] = [
    ("read-directory, 250 at once", "list-hold 0 250"),
    ("open-at, 250 at once", "open-many 0 @/file 250"),
    ("a path of 30 MB", "long-path 0 30000000"),
    ("get-random-bytes", "random 30000000"),
    ("poll", "poll-many 16384"),
    ("sockets, 250 at once", "sockets tcp 250"),
    ("datagrams of 2 MB", "udp-large 16 2000000 127.0.0.1:9"),
    ("names to look up", "lookups 250 a"),
];

fn main() {
    let attacks = attacks();
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, case] = &arguments[..]
        && let Some(attack) = attacks.iter().find(|attack| attack.name == case)
    {
        return run(attack);
    }
    if let [_, case] = &arguments[..]
        && let Some((_, command)) = REQUESTS.iter().find(|(name, _)| name == case)
    {
        return ask(command);
    }
    println!(
        "memory of the host that one component with {LIMIT_MIB} MiB can occupy, beyond these, \
         max-host-bytes {LIMIT_MIB} MiB\n"
    );
    println!("{:>28} {:>10}", "", "MiB");
    let mut most = 0.0_f64;
    let names = attacks.iter().map(|attack| attack.name).chain(REQUESTS.map(|(name, _)| name));
    for name in names {
        let program = std::env::current_exe().unwrap();
        let output = Command::new(program).arg(name).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        match said.trim().parse::<f64>() {
            Ok(mib) if output.status.success() => {
                println!("{name:>28} {mib:>10.1}");
                most = most.max(mib);
            }
            _ => {
                let said = String::from_utf8_lossy(&output.stderr);
                let line = said.lines().next().unwrap_or_default();
                println!("{name:>28} ended early: {line}");
            }
        }
    }
    let all = (most + LIMIT_MIB as f64) / LIMIT_MIB as f64;
    println!("\nat most, with the component's own memory: {all:.2} x its limit");
}

fn run(attack: &Attack) {
    let wasm = attack.component();
    let host = Host::new(r#"{"limits": {"max-execution-time-ms": 60000}}"#);
    // Compiles first, because compiling takes memory, too.
    let echo = airssys_wasm_guests::bytes("echo");
    host.load("bench/echo/0", &echo, "{}");
    let loaded = host.try_load("a/a/a", &wasm, "{}");
    let before = now("VmRSS:");
    fs::write("/proc/self/clear_refs", "5").unwrap();
    let own = match loaded {
        Some(handle) => {
            (0..8).for_each(|_| host.try_call(handle, b"x"));
            host.try_unload(handle);
            0.0
        }
        // The attack happens during the load, which also touches the component's own memory.
        None => {
            host.try_load("a/a/a", &wasm, "{}");
            LIMIT_MIB as f64
        }
    };
    println!("{:.1}", (now("VmHWM:") - before - own).max(0.0));
}

/// The memory of a request to WASI, without the growth of the guest's own memory.
fn ask(command: &str) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().canonicalize().unwrap();
    (0..30_000)
        .for_each(|n| _ = fs::File::create(path.join(format!("a-name-of-some-length-{n:08}"))));
    fs::File::create(path.join("file")).unwrap();
    let path = path.to_str().unwrap();
    let rights = serde_json::json!({
        "filesystem": {path: ["read", "list-dir"]},
        "network": [{"action": "outbound", "host-pattern": "*", "private": true}],
    });
    let host = Host::new(r#"{"limits": {"max-execution-time-ms": 60000}}"#);
    let options = serde_json::json!({ "capabilities": rights }).to_string();
    let handle = host.load("a/a/a", &airssys_wasm_guests::bytes("wasi"), &options);
    host.try_call(handle, b"echo x");
    let own = || host.stats()["memory-bytes"].as_f64().unwrap() / f64::from(1 << 20);
    let (before, own_before) = (now("VmRSS:"), own());
    fs::write("/proc/self/clear_refs", "5").unwrap();
    host.try_call(handle, command.replace('@', path).as_bytes());
    // An instance that was ended has released its memory, at most twice the size of its data.
    let grown = (own() - own_before).max(0.0);
    println!("{:.1}", (now("VmHWM:") - before - grown).max(0.0));
}

fn now(field: &str) -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    let kib: f64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib / 1024.0
}
