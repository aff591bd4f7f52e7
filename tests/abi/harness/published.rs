//! A component built against the published contract. The WIT is a copy, not read from `wit/`, and
//! the code uses every import and export. A change of a name, a field or a type in `wit/` makes its
//! load fail.

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// `airssys:core@1.0.0` as published. The world had another name.
pub const WIT: &str = r#"package airssys:core@1.0.0;

interface types {
    record component-id {
        namespace: string,
        name: string,
        instance: string,
    }

    type component-handle = u64;

    type correlation-id = string;

    type request-id = string;

    type message-payload = list<u8>;

    record timestamp {
        seconds: u64,
        nanoseconds: u32,
    }

    record message-metadata {
        correlation-id: option<correlation-id>,
        reply-to: option<component-id>,
        timestamp: timestamp,
        content-type: option<string>,
    }

    record component-message {
        sender: component-id,
        payload: message-payload,
        metadata: message-metadata,
    }

    record resource-limits {
        max-memory-bytes: u64,
        max-execution-time-ms: u64,
        max-fuel: option<u64>,
    }

    record component-config {
        env-vars: list<tuple<string, string>>,
        config-data: option<message-payload>,
        resource-limits: resource-limits,
    }

    enum log-level {
        trace,
        debug,
        info,
        warn,
        error,
    }

    enum health-status {
        healthy,
        degraded,
        unhealthy,
        unknown,
    }

    enum execution-status {
        success,
        failed,
        timeout,
        cancelled,
    }
}

interface errors {
    use types.{correlation-id, component-id};

    variant wasm-error {
        component-not-found(string),
        instantiation-failed(string),
        export-not-found(string),
        timeout,
        resource-limit-exceeded(string),
        invalid-component(string),
        runtime-error(string),
    }

    variant component-error {
        initialization-failed(string),
        already-initialized,
        not-initialized,
        shutdown-failed(string),
        invalid-state(string),
    }

    variant security-error {
        capability-denied(string),
        policy-violation(string),
        invalid-context(string),
        permission-denied(string),
    }

    variant messaging-error {
        delivery-failed(string),
        correlation-timeout(correlation-id),
        invalid-message(string),
        queue-full,
        target-not-found(component-id),
    }

    variant storage-error {
        not-found(string),
        already-exists(string),
        quota-exceeded,
        invalid-key(string),
        io-error(string),
    }

    variant execution-error {
        invalid-operation(string),
        operation-failed(string),
        unsupported-codec(string),
        serialization-error(string),
    }
}

interface capabilities {
    use types.{component-id};

    record filesystem-permission {
        action: filesystem-action,
        path-pattern: string,
    }

    enum filesystem-action {
        read,
        write,
        delete,
        list-dir,
    }

    record network-permission {
        action: network-action,
        host-pattern: string,
        port: option<u16>,
    }

    enum network-action {
        outbound,
        inbound,
    }

    record storage-permission {
        action: storage-action,
        namespace-pattern: string,
    }

    enum storage-action {
        read,
        write,
        delete,
    }

    record messaging-permission {
        action: messaging-action,
        target-pattern: string,
    }

    enum messaging-action {
        send,
        request,
        broadcast,
    }

    record requested-permissions {
        filesystem: list<filesystem-permission>,
        network: list<network-permission>,
        storage: list<storage-permission>,
        messaging: list<messaging-permission>,
    }

    record capability-grant {
        component: component-id,
        permissions: requested-permissions,
        granted-at: u64,
        expires-at: option<u64>,
    }
}

interface component-lifecycle {
    use types.{component-config, component-message, message-payload, health-status};
    use errors.{component-error, wasm-error};

    initialize: func(config: component-config) -> result<_, component-error>;

    handle-message: func(msg: component-message) -> result<option<message-payload>, wasm-error>;

    handle-callback: func(msg: component-message) -> result<_, wasm-error>;

    metadata: func() -> component-metadata;

    health: func() -> health-status;

    shutdown: func() -> result<_, component-error>;

    record component-metadata {
        name: string,
        version: string,
        description: string,
        author: string,
        license: string,
        supported-operations: list<string>,
        stateful: bool,
    }
}

interface host-messaging {
    use types.{component-id, message-payload, correlation-id, request-id};
    use errors.{messaging-error};

    send: func(target: component-id, payload: message-payload) -> result<_, messaging-error>;

    request: func(
        target: component-id,
        payload: message-payload,
        timeout-ms: u64
    ) -> result<correlation-id, messaging-error>;

    cancel-request: func(request-id: request-id) -> result<_, messaging-error>;

    broadcast: func(
        targets: list<component-id>,
        payload: message-payload
    ) -> result<_, messaging-error>;

    self-id: func() -> component-id;
}

interface host-services {
    use types.{component-id, log-level, timestamp};
    use errors.{component-error};

    log: func(
        level: log-level,
        message: string,
        context: option<list<tuple<string, string>>>
    );

    current-time: func() -> timestamp;

    current-time-millis: func() -> u64;

    sleep-millis: func(duration-ms: u64);

    list-components: func() -> list<component-id>;

    get-component-metadata: func(id: component-id) -> result<component-info, component-error>;

    record component-info {
        id: component-id,
        name: string,
        version: string,
        health: string,
    }
}

interface storage {
    use errors.{storage-error};

    type storage-value = list<u8>;

    get: func(key: string) -> result<option<storage-value>, storage-error>;

    set: func(key: string, value: storage-value) -> result<_, storage-error>;

    delete: func(key: string) -> result<_, storage-error>;

    exists: func(key: string) -> result<bool, storage-error>;

    list-keys: func(prefix: option<string>) -> result<list<string>, storage-error>;

    usage: func() -> result<storage-usage, storage-error>;

    record storage-usage {
        used-bytes: u64,
        quota-bytes: u64,
        key-count: u64,
    }
}

world runtime-host {
    import host-messaging;
    import host-services;
    import storage;

    export component-lifecycle;
}
"#;

/// The component's code, in the text format.
pub const CODE: &str = r#"(module
  ;; All 17 host functions; importing them is what holds their types against the contract.
  (import "airssys:core/host-messaging@1.0.0" "send"
    (func (param i32 i32 i32 i32 i32 i32 i32 i32 i32)))
  (import "airssys:core/host-messaging@1.0.0" "request"
    (func (param i32 i32 i32 i32 i32 i32 i32 i32 i64 i32)))
  (import "airssys:core/host-messaging@1.0.0" "cancel-request" (func (param i32 i32 i32)))
  (import "airssys:core/host-messaging@1.0.0" "broadcast" (func (param i32 i32 i32 i32 i32)))
  (import "airssys:core/host-messaging@1.0.0" "self-id" (func $self-id (param i32)))
  (import "airssys:core/host-services@1.0.0" "log"
    (func $log (param i32 i32 i32 i32 i32 i32)))
  (import "airssys:core/host-services@1.0.0" "current-time" (func (param i32)))
  (import "airssys:core/host-services@1.0.0" "current-time-millis" (func (result i64)))
  (import "airssys:core/host-services@1.0.0" "sleep-millis" (func (param i64)))
  (import "airssys:core/host-services@1.0.0" "list-components" (func (param i32)))
  (import "airssys:core/host-services@1.0.0" "get-component-metadata"
    (func (param i32 i32 i32 i32 i32 i32 i32)))
  (import "airssys:core/storage@1.0.0" "get" (func (param i32 i32 i32)))
  (import "airssys:core/storage@1.0.0" "set" (func $set (param i32 i32 i32 i32 i32)))
  (import "airssys:core/storage@1.0.0" "delete" (func (param i32 i32 i32)))
  (import "airssys:core/storage@1.0.0" "exists" (func (param i32 i32 i32)))
  (import "airssys:core/storage@1.0.0" "list-keys" (func (param i32 i32 i32 i32)))
  (import "airssys:core/storage@1.0.0" "usage" (func (param i32)))

  (memory (export "memory") 4)
  (data (i32.const 16) "ready")
  (data (i32.const 32) "last")
  (data (i32.const 48) "handmade1.0.0by handmeMITecho")
  (global $free (mut i32) (i32.const 4096))

  ;; Never gives anything back: a new instance begins anew.
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (local $at i32)
    (local.set $at
      (i32.and
        (i32.add (global.get $free) (i32.sub (local.get 2) (i32.const 1)))
        (i32.sub (i32.const 0) (local.get 2))))
    (global.set $free (i32.add (local.get $at) (local.get 3)))
    (local.get $at))

  ;; env-vars, config-data, the three limits: logs the bytes of config-data, and keeps two limits
  ;; at 1024.
  (func (export "airssys:core/component-lifecycle@1.0.0#initialize")
    (param i32 i32 i32 i32 i32 i64 i64 i32 i64) (result i32)
    (i64.store (i32.const 1024) (local.get 5))
    (i64.store (i32.const 1032) (local.get 6))
    (if (local.get 2)
      (then (call $log (i32.const 2) (local.get 3) (local.get 4)
              (i32.const 0) (i32.const 0) (i32.const 0)))
      (else (call $log (i32.const 2) (i32.const 16) (i32.const 5)
              (i32.const 0) (i32.const 0) (i32.const 0))))
    (i32.const 256))

  ;; Stores the payload under "last". Replies with the payload, or to an empty one with the limits,
  ;; or to "?" with what self-id says of the instance, or to "!" with an error.
  (func (export "airssys:core/component-lifecycle@1.0.0#handle-message")
    (param $message i32) (result i32)
    (local $at i32) (local $len i32)
    (local.set $at (i32.load offset=24 (local.get $message)))
    (local.set $len (i32.load offset=28 (local.get $message)))
    (call $set (i32.const 32) (i32.const 4) (local.get $at) (local.get $len) (i32.const 512))
    (if (i32.load8_u (i32.const 512)) (then unreachable))
    (i64.store (i32.const 768) (i64.const 0x100000000))
    (i32.store (i32.const 776) (local.get $at))
    (i32.store (i32.const 780) (local.get $len))
    (if (i32.eqz (local.get $len))
      (then
        (i32.store (i32.const 776) (i32.const 1024))
        (i32.store (i32.const 780) (i32.const 16))))
    (if (i32.eq (local.get $len) (i32.const 1))
      (then
        (if (i32.eq (i32.load8_u (local.get $at)) (i32.const 63))
          (then
            (call $self-id (i32.const 640))
            (i64.store (i32.const 776) (i64.load (i32.const 656)))))
        (if (i32.eq (i32.load8_u (local.get $at)) (i32.const 33))
          (then
            ;; err(runtime-error("last"))
            (i64.store (i32.const 768) (i64.const 0x600000001))
            (i32.store (i32.const 776) (i32.const 32))
            (i32.store (i32.const 780) (i32.const 4))))))
    (i32.const 768))

  (func (export "airssys:core/component-lifecycle@1.0.0#handle-callback")
    (param i32) (result i32)
    (i32.const 256))

  (func (export "airssys:core/component-lifecycle@1.0.0#metadata") (result i32)
    (i64.store offset=0 (i32.const 896) (i64.const 0x800000030))
    (i64.store offset=8 (i32.const 896) (i64.const 0x500000038))
    (i64.store offset=16 (i32.const 896) (i64.const 0x70000003d))
    (i64.store offset=24 (i32.const 896) (i64.const 0x200000044))
    (i64.store offset=32 (i32.const 896) (i64.const 0x300000046))
    (i64.store (i32.const 960) (i64.const 0x400000049))
    (i64.store offset=40 (i32.const 896) (i64.const 0x1000003c0))
    (i32.store8 offset=48 (i32.const 896) (i32.const 1))
    (i32.const 896))

  (func (export "airssys:core/component-lifecycle@1.0.0#health") (result i32)
    (i32.const 1))

  (func (export "airssys:core/component-lifecycle@1.0.0#shutdown") (result i32)
    (i32.const 256))
)
"#;

/// The component, built against `wit`.
pub fn component(wit: &str) -> Vec<u8> {
    component_of(wit, CODE)
}

/// A component of `code`, built against `wit`.
pub fn component_of(wit: &str, code: &str) -> Vec<u8> {
    encoded(wit, code, StringEncoding::UTF8)
}

/// The same with another string encoding.
pub fn encoded(wit: &str, code: &str, texts: StringEncoding) -> Vec<u8> {
    let mut resolve = Resolve::default();
    let package = resolve.push_str("published.wit", wit).expect("WIT");
    let world = resolve.select_world(&[package], Some("runtime-host")).expect("a world");
    let mut module = wat::parse_str(code).expect("a core module");
    embed_component_metadata(&mut module, &resolve, world, texts).expect("a type");
    ComponentEncoder::default()
        .module(&module)
        .and_then(|encoder| encoder.validate(true).encode())
        .unwrap_or_else(|error| panic!("{error:#}"))
}

/// The published component with `from` replaced by `to` in its code.
pub fn with_code(from: &str, to: &str) -> Vec<u8> {
    assert_eq!(CODE.matches(from).count(), 1, "{from}");
    component_of(WIT, &CODE.replace(from, to))
}

/// A component that traps when its storage fails, also in `initialize`.
pub fn needs_storage() -> Vec<u8> {
    let start = "(i64.store (i32.const 1024) (local.get 5))";
    let set =
        "(call $set (i32.const 32) (i32.const 4) (i32.const 16) (i32.const 5) (i32.const 512))
        (if (i32.load8_u (i32.const 512)) (then unreachable))";
    with_code(start, &format!("{start} {set}"))
}
