//! Binaries built byte by byte, in shapes that no toolchain produces.

pub const COMPONENT: [u8; 8] = *b"\0asm\x0d\0\x01\0";
pub const MODULE: [u8; 8] = *b"\0asm\x01\0\0\0";

/// The instruction `end`.
pub const END: u8 = 0x0b;

pub fn leb(number: usize) -> Vec<u8> {
    unsigned_varint::encode::usize(number, &mut unsigned_varint::encode::usize_buffer()).to_vec()
}

pub fn section(id: u8, body: &[u8]) -> Vec<u8> {
    [&[id][..], &leb(body.len()), body].concat()
}

/// A section of `count` items.
pub fn items(id: u8, count: usize, items: &[u8]) -> Vec<u8> {
    section(id, &[&leb(count), items].concat())
}

/// A component made of `sections`.
pub fn component(sections: &[Vec<u8>]) -> Vec<u8> {
    [&COMPONENT[..], &sections.concat()].concat()
}

/// A component that contains one module made of `sections`.
pub fn around(sections: &[Vec<u8>]) -> Vec<u8> {
    component(&[section(1, &[&MODULE[..], &sections.concat()].concat())])
}

/// A type section with one function type: `params` numbers to `results` numbers.
pub fn function_type(params: usize, results: usize) -> Vec<u8> {
    let numbers = |count| [leb(count), vec![0x7f; count]].concat();
    items(1, 1, &[&[0x60][..], &numbers(params), &numbers(results)].concat())
}

/// A function body.
pub fn body(locals: &[u8], code: &[u8]) -> Vec<u8> {
    let body = [locals, code, &[END]].concat();
    [leb(body.len()), body].concat()
}

/// A component whose functions all have type `ty`.
pub fn functions(ty: Vec<u8>, bodies: &[Vec<u8>]) -> Vec<u8> {
    let count = bodies.len();
    around(&[ty, items(3, count, &vec![0; count]), items(10, count, &bodies.concat())])
}

/// A component with one function that takes a number.
pub fn function(code: &[u8]) -> Vec<u8> {
    functions(function_type(1, 0), &[body(&[0], code)])
}

/// Nested loops, each with a branch to its start.
pub fn nested_loops(count: usize) -> Vec<u8> {
    function(&[b"\x03\x40".repeat(count), b"\x20\0\x0d\0\x0b".repeat(count)].concat())
}

/// Nested component types. `opens` is the start of a type with one declaration.
pub fn nested_types(opens: &[u8], depth: usize) -> Vec<u8> {
    let inner = [opens[0], 0];
    component(&[items(7, 1, &[opens.repeat(depth), inner.to_vec()].concat())])
}

/// Instance types, each containing an instance of the previous one.
pub fn chained_instance_types(count: usize) -> Vec<u8> {
    let mut types = vec![0x42, 0];
    for n in 1..count {
        types.extend(b"\x42\x02\x02\x03\x02\x01");
        types.extend(leb(n - 1));
        types.extend(b"\x04\0\x01a\x05\0");
    }
    component(&[items(7, count, &types)])
}

/// `levels` nested components, each of which instantiates the inner one ten times.
pub fn multiplied(levels: usize) -> Vec<u8> {
    let mut inner = component(&[section(1, &MODULE), items(2, 1, &[0, 0, 0])]);
    for _ in 0..levels {
        inner = component(&[section(4, &inner), items(5, 10, &[0; 30])]);
    }
    inner
}
