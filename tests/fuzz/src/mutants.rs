//! Mutants of our own components.

use std::ops::{Range, RangeInclusive};

use wasmparser::{BinaryReader, FunctionBody, Operator, Parser, Payload};

use crate::binaries::Host;
use crate::harness::handmade::Code;
use crate::harness::published::{WIT, component};
use crate::random::Random;
use crate::target::Target;

const GUESTS: [&str; 7] =
    ["requester", "hostile", "relay", "probe", "words", "storage-user", "trapper"];

/// The maximum repetitions of a part, except with FUZZ_DEEP.
const MOST_COPIES: usize = 8;

pub struct Mutants {
    host: Host,
    guests: Vec<Vec<u8>>,
}

impl Mutants {
    pub fn new() -> Self {
        let mut guests: Vec<_> = GUESTS.map(airssys_wasm_guests::bytes).into();
        guests.push(component(WIT));
        let message = "(call $reply (i32.load offset=24 (local.get $message)) (i32.const 1))";
        guests.push(Code { message, ..Code::default() }.component());
        Self { host: Host::new(), guests }
    }
}

impl Target for Mutants {
    fn input(&self, random: &mut Random) -> Vec<u8> {
        // Small components more often.
        let last = self.guests.len() - 1;
        let of = random.below(last * 2);
        let of = if of > last { last - of % 2 } else { of };
        let mut wasm = self.guests[of].clone();
        for _ in 0..=random.below(3) {
            match random.below(12) {
                0 => flip(&mut wasm, random),
                1 => repeat(&mut wasm, random),
                2 => drop(cut(&mut wasm, random)),
                3 => {
                    let other = &self.guests[random.below(self.guests.len())];
                    sections(&mut wasm, other, random);
                }
                4 => inside(&mut wasm, random, true),
                // Valid mutants: other data, and other instructions of the same types.
                5..=7 => inside(&mut wasm, random, false),
                _ => operators(&mut wasm, random),
            }
        }
        wasm
    }

    fn run(&mut self, input: &[u8]) {
        self.host.try_out(input);
    }
}

fn flip(wasm: &mut [u8], random: &mut Random) {
    if wasm.is_empty() {
        return;
    }
    for _ in 0..=random.below(4) {
        let at = random.below(wasm.len());
        wasm[at] = match random.below(3) {
            0 => wasm[at] ^ (1 << random.below(8)),
            1 => *random.pick(&[0, 1, 0x7f, 0x80, 0xff]),
            _ => random.next() as u8,
        };
    }
}

fn range(len: usize, most: usize, random: &mut Random) -> Range<usize> {
    let start = random.below(len + 1);
    start..len.min(start + random.below(most))
}

fn cut(wasm: &mut Vec<u8>, random: &mut Random) -> Vec<u8> {
    let range = range(wasm.len(), 1 << random.below(12), random);
    wasm.drain(range).collect()
}

fn repeat(wasm: &mut Vec<u8>, random: &mut Random) {
    let deep = std::env::var_os("FUZZ_DEEP").is_some();
    let range = range(wasm.len(), 64, random);
    let copies = random.below(if deep { 10_000 } else { MOST_COPIES });
    let (part, end) = (wasm[range.clone()].repeat(copies), range.end);
    wasm.splice(end..end, part);
}

/// The sections at the top level, with their headers.
fn sections_of(wasm: &[u8]) -> Vec<Vec<u8>> {
    let (mut at, mut sections) = (8, Vec::new());
    while at < wasm.len() {
        let (mut size, mut shift, mut end) = (0_usize, 0, at + 1);
        while let Some(byte) = wasm.get(end) {
            end += 1;
            size |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 || shift > 28 {
                break;
            }
        }
        let end = end.saturating_add(size).min(wasm.len());
        sections.push(wasm[at..end].to_vec());
        at = end;
    }
    sections
}

/// Removes, repeats or swaps sections, or takes one from `other`.
fn sections(wasm: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    let (mut own, others) = (sections_of(wasm), sections_of(other));
    if own.is_empty() {
        return;
    }
    let (at, to) = (random.below(own.len()), random.below(own.len()));
    match random.below(5) {
        0 => drop(own.remove(at)),
        1 => own.insert(to, own[at].clone()),
        2 => own.swap(at, to),
        3 if !others.is_empty() => own[at] = random.pick(&others).clone(),
        _ if !others.is_empty() => own.insert(at, random.pick(&others).clone()),
        _ => {}
    }
    wasm.truncate(8);
    wasm.extend(own.concat());
}

/// Changes a few bytes of code or data.
fn inside(wasm: &mut [u8], random: &mut Random, code: bool) {
    let ranges: Vec<Range<usize>> = Parser::new(0)
        .parse_all(wasm)
        .map_while(Result::ok)
        .filter_map(|payload| match payload {
            Payload::CodeSectionEntry(body) if code => Some(body.range()),
            Payload::DataSection(section) if !code => Some(section.range()),
            _ => None,
        })
        .filter(|range| range.len() > 8 && range.end <= wasm.len())
        .collect();
    if ranges.is_empty() {
        return;
    }
    for _ in 0..=random.below(3) {
        let Range { start, end } = random.pick(&ranges).clone();
        let at = start + 4 + random.below(end - start - 8);
        flip(&mut wasm[at..at + 4], random);
    }
}

/// Opcodes of the same type: comparisons of `i32`, of `i64`, then arithmetic.
const ALIKE: [RangeInclusive<u8>; 4] = [0x46..=0x4f, 0x51..=0x5a, 0x6a..=0x78, 0x7c..=0x8a];

/// Changes instructions and their constants so that the code stays valid.
fn operators(wasm: &mut [u8], random: &mut Random) {
    let bodies = bodies(wasm);
    if bodies.is_empty() {
        return;
    }
    for _ in 0..=random.below(4) {
        let of = random.below(bodies.len());
        let body =
            FunctionBody::new(BinaryReader::new(&wasm[bodies[of].clone()], bodies[of].start));
        let Ok(reader) = body.get_operators_reader() else { continue };
        let places: Vec<(usize, bool)> = reader
            .into_iter_with_offsets()
            .map_while(Result::ok)
            .filter_map(|(operator, at)| match operator {
                Operator::I32Const { .. } | Operator::I64Const { .. } => Some((at, true)),
                _ => ALIKE.iter().any(|all| all.contains(&wasm[at])).then_some((at, false)),
            })
            .collect();
        if places.is_empty() {
            continue;
        }
        let (at, is_number) = *random.pick(&places);
        if is_number {
            wasm[at + 1] = (wasm[at + 1] & 0x80) | (random.next() as u8 & 0x7f);
        } else if let Some(all) = ALIKE.iter().find(|all| all.contains(&wasm[at])) {
            wasm[at] = all.start() + random.below(all.len()) as u8;
        }
    }
}

/// The ranges of function bodies.
fn bodies(wasm: &[u8]) -> Vec<Range<usize>> {
    Parser::new(0)
        .parse_all(wasm)
        .map_while(Result::ok)
        .filter_map(|payload| match payload {
            Payload::CodeSectionEntry(body) => Some(body.range()),
            _ => None,
        })
        .filter(|range| range.end <= wasm.len())
        .collect()
}
