//! Code like that of language runtimes is accepted.

use crate::harness::binaries::*;
use crate::harness::engine::Engine;

#[test]
fn code_like_an_interpreter_s_is_compiled() {
    let engine = Engine::bare();
    // Shaped like CPython's main loop: a branch table over 800 nested blocks and thousands of
    // branches.
    let depth = 800;
    let mut code = b"\x02\x40".repeat(depth);
    code.extend(b"\x20\0\x0e");
    code.extend(leb(depth - 1));
    (0..depth).for_each(|target| code.extend(leb(target)));
    code.extend(b"\x20\0\x20\0\x0d\0\x1a\x0b".repeat(depth));
    let large = body(&[0], &code);
    let looping = body(&[1, 100, 0x7f], &b"\x03\x40\x20\0\x0d\0\x0b".repeat(400));
    let small = body(&[1, 4, 0x7f], &b"\x20\0\x41\x01\x6a\x21\x01".repeat(20));
    let bodies = [vec![large, looping], vec![small; 3_000]].concat();
    engine.try_load("app/large/0", &functions(function_type(1, 0), &bodies), None).unwrap();
    let data = items(5, 1, &[0, 1]);
    let segments = items(11, 2_000, &b"\0\x41\0\x0b\x01x".repeat(2_000));
    engine.try_load("app/segments/0", &around(&[data, segments]), None).unwrap();
}
