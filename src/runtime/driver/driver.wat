;; The loop inside a component: asks for a message, calls the component's own handler with it, and repeats
;; until there are no more. One call from outside thus serves many messages. The loop does what Wasmtime
;; would do around a handler, by the Canonical ABI, and keeps no memory of the component between messages.
(module
  (import "component" "memory" (memory 0))
  (import "component" "realloc" (func $realloc (param i32 i32 i32 i32) (result i32)))
  (import "component" "handle-message" (func $handle_message (param i32) (result i32)))
  (import "component" "handle-message-post" (func $handle_message_post (param i32)))
  (import "component" "handle-callback" (func $handle_callback (param i32) (result i32)))
  (import "component" "handle-callback-post" (func $handle_callback_post (param i32)))
  ;; Returns what comes next: 0 nothing, 1 a message, 2 a callback; plus 4 for a small one, 8 for a tiny one.
  ;; For these two, the bytes above hold the lengths of the sender's three parts, of the payload and of the
  ;; correlation id, and whether the sender expects a reply.
  (import "host" "next" (func $next (result i64)))
  ;; Writes the record `component-message`. Each text costs a call of `realloc` from outside.
  (import "host" "take" (func $take (param i32)))
  ;; These need no such call. They write into the space of the record: the time, as seconds above 30 bits of
  ;; nanoseconds, followed by the texts.
  (import "host" "take-small" (func $take_small (param i32)))
  (import "host" "take-tiny" (func $take_tiny (param i32)))
  (import "host" "answer" (func $answer (param i32 i32 i32 i32)))

  (func $copy (param $text i32) (param $length i32) (result i32)
    (local $copy i32)
    (local.set $copy
      (call $realloc (i32.const 0) (i32.const 0) (i32.const 1) (local.get $length)))
    (memory.copy (local.get $copy) (local.get $text) (local.get $length))
    (local.get $copy))

  ;; Returns the record. The handler owns it and everything it points to. Its alignment is checked when the
  ;; host writes to it.
  (func $record (param $coming i64) (result i32)
    (local $record i32)
    (local.set $record
      (call $realloc (i32.const 0) (i32.const 0) (i32.const 8) (i32.const 104)))
    (drop (i32.load8_u offset=103 (local.get $record)))
    (if (i64.eqz (i64.and (local.get $coming) (i64.const 12)))
      (then (call $take (local.get $record)))
      (else
        (if (i64.eqz (i64.and (local.get $coming) (i64.const 8)))
          (then (call $take_small (local.get $record)))
          (else (call $take_tiny (local.get $record))))
        (call $lay_out (local.get $record) (local.get $coming))))
    (local.get $record))

  ;; Converts a small message, written into the record's space, to the record.
  (func $lay_out (param $record i32) (param $coming i64)
    (local $namespace i32) (local $namespace_length i32)
    (local $name i32) (local $name_length i32)
    (local $instance i32) (local $instance_length i32)
    (local $payload i32) (local $payload_length i32)
    (local $correlation i32) (local $correlation_length i32)
    (local $wants_reply i32) (local $to_namespace i32) (local $to_name i32) (local $to_instance i32)
    (local $time i64) (local $sender i32) (local $text i32)
    (local.set $namespace_length
      (i32.and (i32.wrap_i64 (i64.shr_u (local.get $coming) (i64.const 8))) (i32.const 255)))
    (local.set $name_length
      (i32.and (i32.wrap_i64 (i64.shr_u (local.get $coming) (i64.const 16))) (i32.const 255)))
    (local.set $instance_length
      (i32.and (i32.wrap_i64 (i64.shr_u (local.get $coming) (i64.const 24))) (i32.const 255)))
    (local.set $payload_length
      (i32.and (i32.wrap_i64 (i64.shr_u (local.get $coming) (i64.const 32))) (i32.const 255)))
    (local.set $correlation_length
      (i32.and (i32.wrap_i64 (i64.shr_u (local.get $coming) (i64.const 40))) (i32.const 255)))
    (local.set $wants_reply
      (i32.and (i32.wrap_i64 (i64.shr_u (local.get $coming) (i64.const 48))) (i32.const 255)))
    (local.set $time (i64.load (local.get $record)))

    ;; Allocates in Wasmtime's order.
    (local.set $sender (i32.add (local.get $record) (i32.const 8)))
    (local.set $text (local.get $sender))
    (local.set $namespace (call $copy (local.get $text) (local.get $namespace_length)))
    (local.set $text (i32.add (local.get $text) (local.get $namespace_length)))
    (local.set $name (call $copy (local.get $text) (local.get $name_length)))
    (local.set $text (i32.add (local.get $text) (local.get $name_length)))
    (local.set $instance (call $copy (local.get $text) (local.get $instance_length)))
    (local.set $text (i32.add (local.get $text) (local.get $instance_length)))
    (local.set $payload (call $copy (local.get $text) (local.get $payload_length)))
    (local.set $text (i32.add (local.get $text) (local.get $payload_length)))
    (if (local.get $correlation_length) (then
      (local.set $correlation (call $copy (local.get $text) (local.get $correlation_length)))))
    (if (local.get $wants_reply) (then
      (local.set $text (local.get $sender))
      (local.set $to_namespace (call $copy (local.get $text) (local.get $namespace_length)))
      (local.set $text (i32.add (local.get $text) (local.get $namespace_length)))
      (local.set $to_name (call $copy (local.get $text) (local.get $name_length)))
      (local.set $text (i32.add (local.get $text) (local.get $name_length)))
      (local.set $to_instance (call $copy (local.get $text) (local.get $instance_length)))))

    ;; sender
    (i32.store offset=0 (local.get $record) (local.get $namespace))
    (i32.store offset=4 (local.get $record) (local.get $namespace_length))
    (i32.store offset=8 (local.get $record) (local.get $name))
    (i32.store offset=12 (local.get $record) (local.get $name_length))
    (i32.store offset=16 (local.get $record) (local.get $instance))
    (i32.store offset=20 (local.get $record) (local.get $instance_length))
    ;; payload
    (i32.store offset=24 (local.get $record) (local.get $payload))
    (i32.store offset=28 (local.get $record) (local.get $payload_length))
    ;; metadata: correlation-id
    (i32.store offset=32 (local.get $record) (i32.ne (local.get $correlation_length) (i32.const 0)))
    (i32.store offset=36 (local.get $record) (local.get $correlation))
    (i32.store offset=40 (local.get $record) (local.get $correlation_length))
    ;; reply-to: the sender
    (i32.store offset=44 (local.get $record) (local.get $wants_reply))
    (i32.store offset=48 (local.get $record) (local.get $to_namespace))
    (i32.store offset=52 (local.get $record) (local.get $namespace_length))
    (i32.store offset=56 (local.get $record) (local.get $to_name))
    (i32.store offset=60 (local.get $record) (local.get $name_length))
    (i32.store offset=64 (local.get $record) (local.get $to_instance))
    (i32.store offset=68 (local.get $record) (local.get $instance_length))
    ;; timestamp
    (i64.store offset=72 (local.get $record) (i64.shr_u (local.get $time) (i64.const 30)))
    (i32.store offset=80 (local.get $record)
      (i32.and (i32.wrap_i64 (local.get $time)) (i32.const 0x3fffffff)))
    ;; content-type
    (i32.store offset=88 (local.get $record) (i32.const 0)))

  ;; Traps if a result of 16 bytes is misaligned or out of bounds.
  (func $check (param $result i32)
    (if (i32.and (local.get $result) (i32.const 3)) (then (unreachable)))
    (drop (i32.load8_u offset=15 (local.get $result))))

  ;; Reports a `wasm-error` to the host; case 3 has no text.
  (func $fail (param $result i32)
    (local $case i32)
    (local.set $case (i32.load8_u offset=4 (local.get $result)))
    (if (i32.eq (local.get $case) (i32.const 3))
      (then
        (call $answer (i32.load8_u (local.get $result)) (local.get $case) (i32.const 0) (i32.const 0)))
      (else
        (call $answer (i32.load8_u (local.get $result)) (local.get $case)
          (i32.load offset=8 (local.get $result)) (i32.load offset=12 (local.get $result))))))

  (func $message (param $coming i64)
    (local $result i32)
    (local.set $result (call $handle_message (call $record (local.get $coming))))
    (call $check (local.get $result))
    (if (i32.load8_u (local.get $result))
      (then (call $fail (local.get $result)))
      (else
        (if (i32.load8_u offset=4 (local.get $result)) (then
          (call $answer (i32.const 0) (i32.load8_u offset=4 (local.get $result))
            (i32.load offset=8 (local.get $result)) (i32.load offset=12 (local.get $result)))))))
    (call $handle_message_post (local.get $result)))

  (func $callback (param $coming i64)
    (local $result i32)
    (local.set $result (call $handle_callback (call $record (local.get $coming))))
    (call $check (local.get $result))
    (if (i32.load8_u (local.get $result)) (then (call $fail (local.get $result))))
    (call $handle_callback_post (local.get $result)))

  (func (export "run")
    (local $coming i64)
    (loop $again
      (local.set $coming (call $next))
      (if (i64.eqz (local.get $coming)) (then (return)))
      (if (i32.and (i32.wrap_i64 (local.get $coming)) (i32.const 1))
        (then (call $message (local.get $coming)))
        (else (call $callback (local.get $coming))))
      (br $again))))
