//! Prefixes of payloads, compared with an independent decoder.

use std::ffi::{CStr, CString};

use airssys_wasm::*;

use crate::harness::engine::{NO_BYTES, check, take};
use crate::random::Random;
use crate::target::{Target, sound};

pub struct Codecs;

impl Target for Codecs {
    /// A hundred payloads, each preceded by its length.
    fn input(&self, random: &mut Random) -> Vec<u8> {
        let payload = |_| {
            let len = random.below(24);
            let mut payload = random.bytes(len);
            if random.one_in(2) {
                // Numbers longer than any valid one.
                payload.iter_mut().for_each(|byte| *byte |= 0x80);
            }
            [vec![len as u8], payload].concat()
        };
        (0..100).flat_map(payload).collect()
    }

    fn run(&mut self, mut input: &[u8]) {
        while let Some((len, rest)) = input.split_first() {
            let (payload, rest) = rest.split_at(rest.len().min(usize::from(*len)));
            hold_against_the_model(payload);
            input = rest;
        }
    }
}

fn hold_against_the_model(input: &[u8]) {
    let (mut code, mut len) = (u64::MAX, usize::MAX);
    // SAFETY: bytes, and outputs that are valid for writing.
    let read = sound(check(|error| unsafe {
        let (data, size) = (input.as_ptr(), input.len());
        airssys_codec_read(data, size, &raw mut code, &raw mut len, error)
    }));
    let expected = decoded(input);
    assert_eq!(read.is_ok(), expected.is_some(), "{input:x?}");
    if let Some(expected) = expected {
        assert_eq!((code, len), expected, "{input:x?}");
    } else {
        assert_eq!((code, len), (u64::MAX, usize::MAX), "written on failure");
    }

    let code = Random::from_bytes(input).number();
    let mut out = NO_BYTES;
    // SAFETY: bytes, and outputs that are valid for writing.
    let prefixed = sound(check(|error| unsafe {
        let (data, size) = (input.as_ptr(), input.len());
        airssys_codec_prefix(code, data, size, &raw mut out, error)
    }));
    assert_eq!(prefixed.is_ok(), code < 1 << 63, "{code}");
    if let Some(message) = take(out) {
        let (read, len) = decoded(&message).expect("a prefix");
        assert_eq!((read, &message[len..]), (code, input));
    }

    // SAFETY: a static text, or NULL.
    let name = airssys_codec_name(code);
    let known = (!name.is_null()).then(|| unsafe { CStr::from_ptr(name) });
    let text = CString::new(input.iter().copied().filter(|byte| *byte != 0).collect::<Vec<_>>());
    for (text, expected) in [(known, Some(code)), (text.as_deref().ok(), None)] {
        let Some(text) = text else { continue };
        let mut found = 0;
        // SAFETY: text, and outputs that are valid for writing.
        let of = sound(check(|error| unsafe {
            airssys_codec_code(text.as_ptr(), &raw mut found, error)
        }));
        assert!(expected.is_none_or(|code| of.is_ok() && found == code), "{text:?}");
    }
}

/// The number at the start of a payload: at most 63 bits, in the shortest encoding.
fn decoded(payload: &[u8]) -> Option<(u64, usize)> {
    let len = payload.iter().take(9).position(|byte| byte & 0x80 == 0)? + 1;
    if len > 1 && payload[len - 1] == 0 {
        return None;
    }
    let digits = payload[..len].iter().rev();
    Some((digits.fold(0, |code, byte| code << 7 | u64::from(byte & 0x7f)), len))
}
