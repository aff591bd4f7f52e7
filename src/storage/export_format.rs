//! The text format of exports; `docs/storage-format.md` describes it.

use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::core::id::shorten;
use crate::storage::backend::UnixMillis;
use crate::storage::component_storage::checked;
use crate::storage::namespace::Namespace;

/// The first word of every export, in all versions of the format.
const MARK: &str = "airssys-storage-export";

/// The version of the format.
const VERSION: &str = "1";

/// The most bytes of a value in one line.
const VALUE_LINE_BYTES: usize = 24 << 10;

/// The most bytes of a line: those of a value, each in three characters, and the words before them.
const MAX_LINE_BYTES: usize = 3 * VALUE_LINE_BYTES + 64;

/// The largest value, in bytes.
pub const MAX_VALUE_BYTES: usize = 256 << 20;

/// The bytes of a piece of the output.
const PIECE_BYTES: usize = 64 << 10;

/// Writes an export in pieces.
pub struct Writer<F> {
    write: F,
    piece: Vec<u8>,
    /// Of everything written so far.
    checksum: Sha256,
    keys: u64,
}

impl<E, F: FnMut(&[u8]) -> Result<(), E>> Writer<F> {
    /// Begins an export.
    pub fn new(write: F) -> Result<Self, E> {
        let piece = Vec::with_capacity(PIECE_BYTES);
        let mut writer = Self { write, piece, checksum: Sha256::new(), keys: 0 };
        writer.line(format!("{MARK} {VERSION}"))?;
        Ok(writer)
    }

    /// Begins a namespace. Namespaces come in the order of their bytes.
    pub fn namespace(&mut self, namespace: &str) -> Result<(), E> {
        self.line(format!("namespace {}", escaped(namespace.as_bytes())))
    }

    /// Writes a key of the namespace. Keys come in the order of their bytes.
    pub fn key(&mut self, key: &str, value: &[u8], expires: Option<UnixMillis>) -> Result<(), E> {
        self.keys += 1;
        let expires = expires.map_or_else(|| "-".into(), |expires| expires.to_string());
        self.line(format!("key {} {expires}", escaped(key.as_bytes())))?;
        value
            .chunks(VALUE_LINE_BYTES)
            .try_for_each(|part| self.line(format!("value {}", escaped(part))))
    }

    /// Ends the export.
    pub fn end(mut self) -> Result<(), E> {
        let checksum = hexadecimal(&std::mem::take(&mut self.checksum).finalize());
        self.line(format!("end {} {checksum}", self.keys))?;
        (self.write)(&self.piece)
    }

    fn line(&mut self, mut line: String) -> Result<(), E> {
        line.push('\n');
        self.checksum.update(line.as_bytes());
        self.piece.extend_from_slice(line.as_bytes());
        if self.piece.len() < PIECE_BYTES {
            return Ok(());
        }
        let written = (self.write)(&self.piece);
        self.piece.clear();
        written
    }
}

/// A key of an export.
#[derive(Debug, PartialEq, Eq)]
pub struct ExportedKey {
    /// Its namespace.
    pub namespace: Namespace,
    /// The key.
    pub key: String,
    /// Its value.
    pub value: Vec<u8>,
    /// When it expires.
    pub expires: Option<UnixMillis>,
    /// Its line.
    pub line: u64,
}

/// What is wrong with an export.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Defect {
    #[error("this is no export of a storage: it must begin with \"{MARK} {VERSION}\"")]
    Foreign,
    #[error("the export has version {0}, and this library reads version {VERSION} only")]
    OtherVersion(String),
    #[error("{0:?} is not what a line of an export begins with")]
    UnknownLine(String),
    #[error("a {what} needs {expected}")]
    Incomplete { what: &'static str, expected: &'static str },
    #[error("the byte {0:#04x} must be written as %{0:02X}")]
    RawByte(u8),
    #[error("% must be followed by two hexadecimal digits, 0 to 9 and A to F")]
    Escape,
    #[error("{0}")]
    Name(String),
    #[error("a {0} before the {1} that it belongs to")]
    Misplaced(&'static str, &'static str),
    #[error("{what} {name:?} does not come after {before:?} in the order of bytes")]
    Order { what: &'static str, name: String, before: String },
    #[error("a line has at most {MAX_LINE_BYTES} bytes")]
    LineTooLong,
    #[error("a value has at most {MAX_VALUE_BYTES} bytes")]
    ValueTooLong,
    #[error("it holds {found} keys, and its end states {stated}")]
    Count { stated: String, found: u64 },
    #[error("the checksum of its end does not match: something in it was changed")]
    Checksum,
    #[error("something follows its end")]
    AfterEnd,
    #[error("it has no end: it was cut off")]
    CutOff,
}

/// Reads an export in pieces.
pub struct Reader {
    /// The beginning of a line whose end has not come yet.
    partial: Vec<u8>,
    /// The number of complete lines.
    lines: u64,
    checksum: Sha256,
    keys: u64,
    namespace: Option<Namespace>,
    last_key: Option<String>,
    /// The key whose value is being read.
    current: Option<ExportedKey>,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Start,
    Body,
    Ended,
}

impl Default for Reader {
    fn default() -> Self {
        Self {
            partial: Vec::new(),
            lines: 0,
            checksum: Sha256::new(),
            keys: 0,
            namespace: None,
            last_key: None,
            current: None,
            state: State::Start,
        }
    }
}

impl Reader {
    /// Returns the number of the line being read, from 1.
    pub fn line(&self) -> u64 {
        self.lines + 1
    }

    /// Returns the number of keys so far.
    pub fn keys(&self) -> u64 {
        self.keys
    }

    /// Takes bytes up to the end of the next line, and returns their number and the key that the line
    /// completes.
    pub fn take(&mut self, bytes: &[u8]) -> Result<(usize, Option<ExportedKey>), Defect> {
        if self.state == State::Ended && !bytes.is_empty() {
            return Err(Defect::AfterEnd);
        }
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let part = &bytes[..end.unwrap_or(bytes.len())];
        if self.partial.len() + part.len() > MAX_LINE_BYTES {
            return Err(if self.state == State::Start {
                Defect::Foreign
            } else {
                Defect::LineTooLong
            });
        }
        self.partial.extend_from_slice(part);
        let Some(end) = end else { return Ok((bytes.len(), None)) };
        let line = std::mem::take(&mut self.partial);
        let completed = self.whole_line(&line)?;
        self.partial = line;
        self.partial.clear();
        self.lines += 1;
        Ok((end + 1, completed))
    }

    /// Ends the reading.
    pub fn finish(&self) -> Result<(), Defect> {
        match self.state {
            State::Ended => Ok(()),
            State::Start => Err(Defect::Foreign),
            State::Body => Err(Defect::CutOff),
        }
    }

    fn whole_line(&mut self, line: &[u8]) -> Result<Option<ExportedKey>, Defect> {
        if self.state == State::Start {
            begin(line)?;
            self.state = State::Body;
            self.add_to_checksum(line);
            return Ok(None);
        }
        let mut words = line.split(|byte| *byte == b' ');
        let (first, second, third) = (words.next().unwrap_or_default(), words.next(), words.next());
        if words.next().is_some() {
            return Err(Defect::RawByte(b' '));
        }
        let completed = match (first, second, third) {
            (b"namespace", Some(name), None) => {
                let completed = self.current.take();
                self.begin_namespace(&unescaped(name)?)?;
                completed
            }
            (b"key", Some(key), Some(expires)) => {
                let completed = self.current.take();
                self.begin_key(&unescaped(key)?, expires)?;
                completed
            }
            (b"value", Some(part), None) => {
                let Some(current) = &mut self.current else {
                    return Err(Defect::Misplaced("value", "key"));
                };
                let part = unescaped(part)?;
                if current.value.len() + part.len() > MAX_VALUE_BYTES {
                    return Err(Defect::ValueTooLong);
                }
                current.value.extend_from_slice(&part);
                None
            }
            (b"end", Some(keys), Some(checksum)) => {
                self.end(keys, checksum)?;
                return Ok(self.current.take());
            }
            (b"namespace", ..) => {
                return Err(Defect::Incomplete { what: "namespace", expected: "its name" });
            }
            (b"key", ..) => {
                let expected = "its name, and the time when it expires or -";
                return Err(Defect::Incomplete { what: "key", expected });
            }
            (b"value", ..) => {
                return Err(Defect::Incomplete { what: "value", expected: "its bytes" });
            }
            (b"end", ..) => {
                let expected = "the number of keys and a checksum";
                return Err(Defect::Incomplete { what: "end", expected });
            }
            _ => return Err(Defect::UnknownLine(shorten(&String::from_utf8_lossy(first)))),
        };
        self.add_to_checksum(line);
        Ok(completed)
    }

    fn add_to_checksum(&mut self, line: &[u8]) {
        self.checksum.update(line);
        self.checksum.update(b"\n");
    }

    fn begin_namespace(&mut self, name: &[u8]) -> Result<(), Defect> {
        let namespace = Namespace::parse_any(&text(name)?);
        let namespace = namespace.map_err(|invalid| Defect::Name(invalid.to_string()))?;
        if let Some(before) = &self.namespace {
            in_order("namespace", namespace.as_str(), before.as_str())?;
        }
        (self.namespace, self.last_key) = (Some(namespace), None);
        Ok(())
    }

    fn begin_key(&mut self, key: &[u8], expires: &[u8]) -> Result<(), Defect> {
        let Some(namespace) = &self.namespace else {
            return Err(Defect::Misplaced("key", "namespace"));
        };
        let key = text(key)?;
        checked(&key).map_err(|invalid| Defect::Name(invalid.to_string()))?;
        if let Some(before) = &self.last_key {
            in_order("key", &key, before)?;
        }
        let expires = match expires {
            b"-" => None,
            digits => {
                let time = str::from_utf8(digits).ok().filter(|text| is_number(text));
                let time = time.and_then(|text| text.parse().ok());
                let expected = "its name, and the time when it expires or -";
                Some(time.ok_or(Defect::Incomplete { what: "key", expected })?)
            }
        };
        self.keys += 1;
        self.last_key = Some(key.clone());
        let (namespace, line) = (namespace.clone(), self.line());
        self.current = Some(ExportedKey { namespace, key, value: Vec::new(), expires, line });
        Ok(())
    }

    fn end(&mut self, keys: &[u8], checksum: &[u8]) -> Result<(), Defect> {
        let stated = String::from_utf8_lossy(keys);
        if stated != self.keys.to_string() {
            return Err(Defect::Count { stated: shorten(&stated), found: self.keys });
        }
        if hexadecimal(&std::mem::take(&mut self.checksum).finalize()).as_bytes() != checksum {
            return Err(Defect::Checksum);
        }
        self.state = State::Ended;
        Ok(())
    }
}

/// Checks the first line.
fn begin(line: &[u8]) -> Result<(), Defect> {
    let line = str::from_utf8(line).map_err(|_| Defect::Foreign)?;
    match line.split_once(' ') {
        Some((MARK, VERSION)) => Ok(()),
        Some((MARK, other)) => Err(Defect::OtherVersion(shorten(other))),
        _ => Err(Defect::Foreign),
    }
}

fn in_order(what: &'static str, name: &str, before: &str) -> Result<(), Defect> {
    match name > before {
        true => Ok(()),
        false => Err(Defect::Order { what, name: shorten(name), before: shorten(before) }),
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn text(bytes: &[u8]) -> Result<String, Defect> {
    String::from_utf8(bytes.to_vec()).map_err(|_| Defect::Name("a name is not UTF-8".into()))
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_graphic() && byte != b'%'
}

/// Writes every byte but the visible characters of ASCII as `%XX`.
fn escaped(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut text = String::with_capacity(bytes.len());
    for byte in bytes {
        if is_plain(*byte) {
            text.push(char::from(*byte));
        } else {
            let digit = |of: u8| char::from(DIGITS[usize::from(of & 15)]);
            text.extend(['%', digit(byte >> 4), digit(*byte)]);
        }
    }
    text
}

fn unescaped(text: &[u8]) -> Result<Vec<u8>, Defect> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.iter();
    while let Some(byte) = rest.next() {
        bytes.push(match *byte {
            b'%' => {
                let mut digit = || match rest.next() {
                    Some(digit @ b'0'..=b'9') => Ok(digit - b'0'),
                    Some(digit @ b'A'..=b'F') => Ok(digit - b'A' + 10),
                    _ => Err(Defect::Escape),
                };
                digit()? << 4 | digit()?
            }
            plain if is_plain(plain) => plain,
            other => return Err(Defect::RawByte(other)),
        });
    }
    match bytes.is_empty() {
        true => {
            Err(Defect::Incomplete { what: "line", expected: "something after its first word" })
        }
        false => Ok(bytes),
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;

    use super::*;

    type Keys = Vec<(&'static str, &'static str, Vec<u8>, Option<u64>)>;

    fn written(keys: &Keys) -> String {
        let mut text = Vec::new();
        let mut writer = Writer::new(|piece: &[u8]| {
            text.extend_from_slice(piece);
            Ok::<_, ()>(())
        })
        .unwrap();
        let mut before = "";
        for (namespace, key, value, expires) in keys {
            if *namespace != before {
                writer.namespace(namespace).unwrap();
                before = namespace;
            }
            writer.key(key, value, *expires).unwrap();
        }
        writer.end().unwrap();
        String::from_utf8(text).unwrap()
    }

    /// Reads an export in pieces of some size.
    fn read(text: &[u8], size: usize) -> Result<Vec<ExportedKey>, (u64, Defect)> {
        let (mut reader, mut keys) = (Reader::default(), Vec::new());
        for piece in text.chunks(size) {
            let mut rest = piece;
            while !rest.is_empty() {
                let (taken, key) = reader.take(rest).map_err(|defect| (reader.line(), defect))?;
                keys.extend(key);
                rest = &rest[taken..];
            }
        }
        reader.finish().map_err(|defect| (reader.line(), defect))?;
        Ok(keys)
    }

    #[test]
    fn the_format_is_as_documented() {
        let keys = vec![
            ("airssys.engine", "saved", vec![0, 255, b'%', b' ', b'\n'], None),
            ("app/db/0", "empty", vec![], Some(17)),
            ("app/db/0", "größe 1", b"visible!".to_vec(), None),
        ];
        let text = "airssys-storage-export 1
namespace airssys.engine
key saved -
value %00%FF%25%20%0A
namespace app/db/0
key empty 17
key gr%C3%B6%C3%9Fe%201 -
value visible!
end 3 ";
        let export = written(&keys);
        let (body, end) = export.split_at(text.len());
        assert_eq!(body, text);
        let before = &text[..text.find("end 3").unwrap()];
        assert_eq!(end, hexadecimal(&Sha256::digest(before.as_bytes())) + "\n");
        let back = read(export.as_bytes(), 7).unwrap();
        let back: Vec<_> = back
            .iter()
            .map(|key| (key.namespace.as_str(), &*key.key, key.value.clone(), key.expires))
            .collect();
        assert_eq!(back, keys);
        assert_eq!(read(written(&vec![]).as_bytes(), 1000), Ok(vec![]));
    }

    #[test]
    fn long_values_are_broken_into_lines() {
        let value: Vec<u8> = (0..VALUE_LINE_BYTES * 3 + 1).map(|n| (n % 251) as u8).collect();
        let export = written(&vec![("a/b/c", "k", value.clone(), None)]);
        assert_eq!(export.lines().filter(|line| line.starts_with("value ")).count(), 4);
        assert!(export.lines().all(|line| line.len() <= MAX_LINE_BYTES));
        assert_eq!(read(export.as_bytes(), 10_000).unwrap()[0].value, value);
    }

    #[test]
    fn every_defect_is_found_and_named_with_its_line() {
        let head = "airssys-storage-export 1\n";
        let long =
            format!("{head}namespace a/b/c\nkey k -\nvalue {}\n", "x".repeat(MAX_LINE_BYTES));
        for (text, line, words) in [
            ("", 1, "no export"),
            ("PK\u{3}\u{4}", 1, "no export"),
            ("SQLite format 3\0\n", 1, "no export"),
            ("airssys-storage-export 2\n", 1, "has version 2"),
            (&format!("{head}\n"), 2, "\"\" is not what"),
            (&format!("{head}nmaespace a/b/c\n"), 2, "\"nmaespace\" is not what"),
            (&format!("{head}namespace\n"), 2, "needs its name"),
            (&format!("{head}namespace a\n"), 2, "1 part(s) found"),
            (&format!("{head}namespace a/b/c d e\n"), 2, "0x20"),
            (&format!("{head}key k -\n"), 2, "before the namespace"),
            (&format!("{head}namespace a/b/c\nvalue k\n"), 3, "before the key"),
            (&format!("{head}namespace a/b/c\nkey k\n"), 3, "the time when it expires"),
            (&format!("{head}namespace a/b/c\nkey k +1\n"), 3, "the time when it expires"),
            (&format!("{head}namespace a/b/c\nkey %00 -\n"), 3, "contains NUL"),
            (&format!("{head}namespace a/b/c\nkey %FF -\n"), 3, "not UTF-8"),
            (&format!("{head}namespace a/b/c\nkey %f0 -\n"), 3, "hexadecimal"),
            (&format!("{head}namespace a/b/c\nkey k -\r\n"), 3, "the time"),
            (&format!("{head}namespace a/b/c\nkey k -\nvalue x\r\n"), 4, "0x0d"),
            (&format!("{head}namespace a/b/c\nkey k -\nkey k -\n"), 4, "order of bytes"),
            (&format!("{head}namespace a/b/c\nnamespace a/b\n"), 3, "order of bytes"),
            (&format!("{head}namespace a/b/c\nkey k -\nend 2 x\n"), 4, "holds 1 keys"),
            (&format!("{head}end 0 00\n"), 2, "checksum"),
            (&long, 4, "at most"),
        ] {
            let (at, defect) = read(text.as_bytes(), 16).unwrap_err();
            let defect = defect.to_string();
            assert!(at == line && defect.contains(words), "{text:.80}: line {at}: {defect}");
        }
    }

    #[test]
    fn a_change_anywhere_and_a_cut_anywhere_are_found() {
        let export = written(&vec![
            ("a/b", "k", b"value".to_vec(), None),
            ("a/b/c", "k", b"value".to_vec(), Some(5)),
        ]);
        let bytes = export.as_bytes();
        for at in 0..bytes.len() {
            assert!(read(&bytes[..at], 50).is_err(), "cut at {at}");
            let mut changed = bytes.to_vec();
            changed[at] ^= 1;
            assert!(read(&changed, 50).is_err(), "changed at {at}");
        }
        let (at, after) = read(format!("{export}\n").as_bytes(), 1000).unwrap_err();
        assert_eq!((at, after), (export.lines().count() as u64 + 1, Defect::AfterEnd));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_byte_survives(
            keys in btree_map("[^\0]{1,20}", (vec(any::<u8>(), 0..40), any::<Option<u64>>()), 0..20),
            size in 1..64_usize,
        ) {
            let mut text = Vec::new();
            let mut writer = Writer::new(|piece: &[u8]| {
                text.extend_from_slice(piece);
                Ok::<_, ()>(())
            }).unwrap();
            writer.namespace("ä b/c d/e%f").unwrap();
            for (key, (value, expires)) in &keys {
                writer.key(key, value, *expires).unwrap();
            }
            writer.end().unwrap();
            prop_assert!(text.is_ascii());
            let back = read(&text, size).unwrap();
            let same = back.iter().map(|key| (&key.key, &key.value, key.expires))
                .eq(keys.iter().map(|(key, (value, expires))| (key, value, *expires)));
            prop_assert!(same && back.iter().all(|key| key.namespace.as_str() == "ä b/c d/e%f"));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in vec(any::<u8>(), 0..200), size in 1..64_usize) {
            let mut text = b"airssys-storage-export 1\nnamespace a/b/c\nkey k -\n".to_vec();
            text.extend(bytes);
            prop_assert!(read(&text, size).is_err());
        }
    }
}
