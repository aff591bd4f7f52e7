//! A component without its code and data: all that tells what it imports and exports.
//!
//! It stays valid: the types of the core functions are left, which the component's functions are
//! checked against.

use wasm_encoder::Encode;
use wasmparser::{BinaryReaderError, Encoding, Parser, Payload};

/// The section with the tools that made the component.
pub const PRODUCERS: &str = "producers";

/// The section with the comments of its WIT.
const DOCS: &str = "package-docs";

/// The most bytes of a custom section that is kept.
const MAX_CUSTOM_BYTES: usize = 256 << 10;

const MODULE_SECTION: u8 = 1;
const COMPONENT_SECTION: u8 = 4;
const CODE_SECTION: u8 = 10;

/// A body in place of any other: its size, no locals, `unreachable`, `end`.
const BODY: [u8; 4] = [3, 0, 0, 0x0b];

/// A module or component being written, and the section that holds it.
struct Open {
    section: u8,
    bytes: Vec<u8>,
}

/// Returns the outline of a component. Takes time and memory like a copy of the binary.
pub fn outline(binary: &[u8]) -> Result<Vec<u8>, BinaryReaderError> {
    let mut open: Vec<Open> = Vec::new();
    for payload in Parser::new(0).parse_all(binary) {
        let payload = payload?;
        if let Payload::Version { encoding, range, .. } = &payload {
            let section = match encoding {
                Encoding::Module => MODULE_SECTION,
                Encoding::Component => COMPONENT_SECTION,
            };
            let bytes = binary.get(range.clone()).unwrap_or_default().to_vec();
            open.push(Open { section, bytes });
            continue;
        }
        if let Payload::End(_) = &payload {
            let Some(closed) = open.pop() else { break };
            let Some(outer) = open.last_mut() else { return Ok(closed.bytes) };
            outer.bytes.push(closed.section);
            closed.bytes.encode(&mut outer.bytes);
            continue;
        }
        let Some(inner) = open.last_mut() else { break };
        match &payload {
            // What is in them follows.
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => {}
            Payload::CodeSectionEntry(_)
            | Payload::DataSection(_)
            | Payload::DataCountSection { .. }
            | Payload::ElementSection(_)
            | Payload::StartSection { .. } => {}
            Payload::CodeSectionStart { count, .. } => {
                let mut section = Vec::new();
                count.encode(&mut section);
                section.extend(BODY.iter().cycle().take(*count as usize * BODY.len()));
                inner.bytes.push(CODE_SECTION);
                section.encode(&mut inner.bytes);
            }
            Payload::CustomSection(custom) => {
                let docs = custom.name() == DOCS && inner.section == COMPONENT_SECTION;
                let kept = docs || custom.name() == PRODUCERS;
                if kept && custom.data().len() <= MAX_CUSTOM_BYTES {
                    copy(binary, &payload, inner);
                }
            }
            _ => copy(binary, &payload, inner),
        }
    }
    Ok(Vec::new())
}

fn copy(binary: &[u8], payload: &Payload<'_>, to: &mut Open) {
    let Some((id, range)) = payload.as_section() else { return };
    to.bytes.push(id);
    binary.get(range).unwrap_or_default().encode(&mut to.bytes);
}
