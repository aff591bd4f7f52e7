//! Self-describing payloads.

use std::ffi::{CStr, c_char};

use crate::core::codec::{Codec, UnknownCodec, prefix, read};
use crate::ffi::arguments::arguments;
use crate::ffi::boundary::boundary;
use crate::ffi::bytes::airssys_bytes_t;
use crate::ffi::error::airssys_error_t;
use crate::ffi::failure::Failure;
use crate::ffi::status::airssys_status_t;

/// `protobuf`: Protocol Buffers.
pub const AIRSSYS_CODEC_PROTOBUF: u64 = 0x50;
/// `cbor`: CBOR.
pub const AIRSSYS_CODEC_CBOR: u64 = 0x51;
/// `raw`: bytes without a format, or with an unspecified one.
pub const AIRSSYS_CODEC_RAW: u64 = 0x55;
/// `rlp`: Recursive Length Prefix, the serialization of Ethereum.
pub const AIRSSYS_CODEC_RLP: u64 = 0x60;
/// `bencode`: serialization of BitTorrent.
pub const AIRSSYS_CODEC_BENCODE: u64 = 0x63;
/// `dag-pb`: IPLD Merkle DAG in Protocol Buffers.
pub const AIRSSYS_CODEC_DAG_PB: u64 = 0x70;
/// `dag-cbor`: IPLD Merkle DAG in CBOR.
pub const AIRSSYS_CODEC_DAG_CBOR: u64 = 0x71;
/// `dag-jose`: IPLD Merkle DAG in JOSE, signed or encrypted.
pub const AIRSSYS_CODEC_DAG_JOSE: u64 = 0x85;
/// `dag-cose`: IPLD Merkle DAG in COSE, signed or encrypted.
pub const AIRSSYS_CODEC_DAG_COSE: u64 = 0x86;
/// `dag-json`: IPLD Merkle DAG in JSON.
pub const AIRSSYS_CODEC_DAG_JSON: u64 = 0x0129;
/// `json`: JSON in UTF-8.
pub const AIRSSYS_CODEC_JSON: u64 = 0x0200;
/// `messagepack`: MessagePack.
pub const AIRSSYS_CODEC_MESSAGEPACK: u64 = 0x0201;
/// `car`: content addressable archive.
pub const AIRSSYS_CODEC_CAR: u64 = 0x0202;
/// `x509-certificate`: one X.509 certificate in DER.
pub const AIRSSYS_CODEC_X509_CERTIFICATE: u64 = 0x0210;
/// `ipns-record`: signed IPNS record.
pub const AIRSSYS_CODEC_IPNS_RECORD: u64 = 0x0300;
/// `car-index-sorted`: the index of an archive, CARv2 IndexSorted.
pub const AIRSSYS_CODEC_CAR_INDEX_SORTED: u64 = 0x0400;
/// `car-multihash-index-sorted`: the index of an archive, CARv2 MultihashIndexSorted.
pub const AIRSSYS_CODEC_CAR_MULTIHASH_INDEX_SORTED: u64 = 0x0401;
/// `provenance-log`: verifiable append-only log.
pub const AIRSSYS_CODEC_PROVENANCE_LOG: u64 = 0x1208;
/// `provenance-log-entry`: an entry of such a log.
pub const AIRSSYS_CODEC_PROVENANCE_LOG_ENTRY: u64 = 0x1209;
/// `provenance-log-script`: a script of such a log.
pub const AIRSSYS_CODEC_PROVENANCE_LOG_SCRIPT: u64 = 0x120a;
/// `ssz`: SimpleSerialize.
pub const AIRSSYS_CODEC_SSZ: u64 = 0xb501;
/// `json-jcs`: JSON in the canonical form of RFC 8785.
pub const AIRSSYS_CODEC_JSON_JCS: u64 = 0xb601;
/// `bincode`: bincode. A code for private use; the multicodec table has none.
pub const AIRSSYS_CODEC_BINCODE: u64 = 0x30_6269;
/// `borsh`: Borsh. A code for private use; the multicodec table has none.
pub const AIRSSYS_CODEC_BORSH: u64 = 0x30_626f;

/// `Codec::ALL` with NUL-terminated names.
const CODECS: [(u64, &CStr); Codec::ALL.len()] = [
    (AIRSSYS_CODEC_PROTOBUF, c"protobuf"),
    (AIRSSYS_CODEC_CBOR, c"cbor"),
    (AIRSSYS_CODEC_RAW, c"raw"),
    (AIRSSYS_CODEC_RLP, c"rlp"),
    (AIRSSYS_CODEC_BENCODE, c"bencode"),
    (AIRSSYS_CODEC_DAG_PB, c"dag-pb"),
    (AIRSSYS_CODEC_DAG_CBOR, c"dag-cbor"),
    (AIRSSYS_CODEC_DAG_JOSE, c"dag-jose"),
    (AIRSSYS_CODEC_DAG_COSE, c"dag-cose"),
    (AIRSSYS_CODEC_DAG_JSON, c"dag-json"),
    (AIRSSYS_CODEC_JSON, c"json"),
    (AIRSSYS_CODEC_MESSAGEPACK, c"messagepack"),
    (AIRSSYS_CODEC_CAR, c"car"),
    (AIRSSYS_CODEC_X509_CERTIFICATE, c"x509-certificate"),
    (AIRSSYS_CODEC_IPNS_RECORD, c"ipns-record"),
    (AIRSSYS_CODEC_CAR_INDEX_SORTED, c"car-index-sorted"),
    (AIRSSYS_CODEC_CAR_MULTIHASH_INDEX_SORTED, c"car-multihash-index-sorted"),
    (AIRSSYS_CODEC_PROVENANCE_LOG, c"provenance-log"),
    (AIRSSYS_CODEC_PROVENANCE_LOG_ENTRY, c"provenance-log-entry"),
    (AIRSSYS_CODEC_PROVENANCE_LOG_SCRIPT, c"provenance-log-script"),
    (AIRSSYS_CODEC_SSZ, c"ssz"),
    (AIRSSYS_CODEC_JSON_JCS, c"json-jcs"),
    (AIRSSYS_CODEC_BINCODE, c"bincode"),
    (AIRSSYS_CODEC_BORSH, c"borsh"),
];

// Codes and names of the header and of the engine are the same.
const _: () = {
    let mut index = 0;
    while index < CODECS.len() {
        let (code, name) = CODECS[index];
        let codec = Codec::ALL[index];
        assert!(code == codec.code());
        let (name, expected) = (name.to_bytes(), codec.name().as_bytes());
        assert!(name.len() == expected.len());
        let mut at = 0;
        while at < name.len() {
            assert!(name[at] == expected[at]);
            at += 1;
        }
        index += 1;
    }
};

/// Returns the name of a codec in the multicodec table, for example `"cbor"` for
/// `AIRSSYS_CODEC_CBOR`.
///
/// `code`: an `AIRSSYS_CODEC_...` value; the result for any other is NULL. The text is static and
/// must not be freed. Any thread; callable from callbacks.
#[unsafe(no_mangle)]
pub extern "C" fn airssys_codec_name(code: u64) -> *const c_char {
    let known = CODECS.iter().find(|(known, _)| *known == code);
    known.map_or(std::ptr::null(), |(_, name)| name.as_ptr())
}

/// Looks up the code of a codec.
///
/// `name`: borrowed text, as `airssys_codec_name` spells it. `out_code`: receives the code.
/// `error`: may be NULL; the message about an unknown name lists the known ones. Any thread;
/// callable from callbacks.
///
/// Returns `AIRSSYS_OK`, `AIRSSYS_ERROR_INVALID_ARGUMENT` (also for an unknown name) or
/// `AIRSSYS_ERROR_PANIC`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airssys_codec_code(
    name: *const c_char,
    out_code: *mut u64,
    error: *mut *mut airssys_error_t,
) -> airssys_status_t {
    arguments!(unsafe { name: Text, out_code: Out, error: Out });
    boundary(error, || {
        let name = name.required()?;
        let out_code = out_code.required()?;
        let codec = Codec::by_name(name).ok_or_else(|| {
            let error = UnknownCodec { name: name.to_owned() };
            Failure::argument("name", &format!("cannot be used: {error}"))
        })?;
        out_code.write(codec.code());
        Ok(())
    })
}

/// Reads the code at the start of a payload. The data follows this prefix.
///
/// The code need not be an `AIRSSYS_CODEC_...` value. Data without a prefix often begins like one:
/// check with `airssys_codec_name` that the code is known.
///
/// `payload`, `len`: borrowed bytes; `payload` may be NULL if `len` is 0. `out_code`: receives the
/// code. `out_prefix_len`: receives the length of the prefix in bytes, 1 to 9. `error`: may be
/// NULL. Any thread; callable from callbacks.
///
/// Returns `AIRSSYS_OK`, `AIRSSYS_ERROR_INVALID_MESSAGE` (the payload does not begin with an
/// unsigned varint as multiformats defines it: shortest form, at most 9 bytes),
/// `AIRSSYS_ERROR_INVALID_ARGUMENT` or `AIRSSYS_ERROR_PANIC`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airssys_codec_read(
    payload: *const u8,
    len: usize,
    out_code: *mut u64,
    out_prefix_len: *mut usize,
    error: *mut *mut airssys_error_t,
) -> airssys_status_t {
    arguments!(unsafe { payload[len]: Slice, out_code: Out, out_prefix_len: Out, error: Out });
    boundary(error, || {
        let payload = payload.get()?;
        let (out_code, out_prefix_len) = (out_code.required()?, out_prefix_len.required()?);
        let (code, prefix_len) = read(payload).ok_or_else(|| {
            Failure::message("the payload does not begin with a multicodec, an unsigned varint")
        })?;
        out_code.write(code);
        out_prefix_len.write(prefix_len);
        Ok(())
    })
}

/// Puts a code in front of a payload, as an unsigned varint.
///
/// `code`: an `AIRSSYS_CODEC_...` value, or any other of at most 63 bits. `payload`, `len`:
/// borrowed bytes; `payload` may be NULL if `len` is 0. `out`: receives the prefix and the payload,
/// which the caller owns. `error`: may be NULL. Any thread; callable from callbacks.
///
/// Returns `AIRSSYS_OK`, `AIRSSYS_ERROR_INVALID_ARGUMENT` (also for a code of 64 bits) or
/// `AIRSSYS_ERROR_PANIC`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airssys_codec_prefix(
    code: u64,
    payload: *const u8,
    len: usize,
    out: *mut airssys_bytes_t,
    error: *mut *mut airssys_error_t,
) -> airssys_status_t {
    arguments!(unsafe { payload[len]: Slice, out: Out, error: Out });
    boundary(error, || {
        let payload = payload.get()?;
        let out = out.required()?;
        let mut message = prefix(code)
            .map_err(|error| Failure::argument("code", &format!("cannot be used: {error}")))?;
        message.reserve_exact(payload.len());
        message.extend_from_slice(payload);
        out.write(airssys_bytes_t::new(Some(message)));
        Ok(())
    })
}
