//! Inspects a binary, or the outline of one that is loaded.

use sha2::{Digest, Sha256};
use wasmparser::{Parser, Payload, Validator, WasmFeatures};

use crate::core::bounds::{MAX_ERROR_TEXT_BYTES, bounded};
use crate::runtime::inspection::document::{self, Binary, Externs, TooLarge};
use crate::runtime::inspection::outline::outline;
use crate::runtime::inspection::producers::Producers;
use crate::runtime::inspection::wit::Wit;
use crate::runtime::load_error::LoadError;
use crate::runtime::loader;
use crate::runtime::prepared::{Prepared, hexadecimal};
use crate::runtime::screen::limits::CompileLimits;
use crate::runtime::screen::pass::screen;

/// The largest binary that is inspected without an engine: the largest that an engine loads unless
/// it is told otherwise.
pub const MAX_COMPONENT_BYTES: u64 = 64 << 20;

/// Tells what a binary is, as JSON. It passes the checks that a load begins with; its code is not
/// validated.
pub fn binary(binary: &[u8]) -> Result<String, LoadError> {
    loader::check(binary, MAX_COMPONENT_BYTES)?;
    // How its code would be compiled does not matter.
    screen(binary, &CompileLimits::default(), 1, false)?;
    let outline = outline(binary).map_err(|error| invalid(&error))?;
    let sha256 = hexadecimal(&Sha256::digest(binary));
    inspect(&outline, Binary { size: binary.len() as u64, sha256 })
}

/// Tells what a compiled component is, as JSON.
pub fn prepared(prepared: &Prepared) -> Result<String, LoadError> {
    let sha256 = hexadecimal(&prepared.sha256);
    inspect(&prepared.outline, Binary { size: prepared.binary_bytes, sha256 })
}

fn inspect(outline: &[u8], binary: Binary) -> Result<String, LoadError> {
    let mut validator = Validator::new_with_features(WasmFeatures::all());
    let types = validator.validate_all(outline).map_err(|error| invalid(&error))?;
    let mut externs = Externs { types: &types, imports: Vec::new(), exports: Vec::new() };
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(outline) {
        match payload.map_err(|error| invalid(&error))? {
            Payload::Version { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 1 => {
                for import in section {
                    let name = import.map_err(|error| invalid(&error))?.name.name;
                    let item = types.component_item_for_import(name);
                    externs.imports.extend(item.map(|item| (name, item)));
                }
            }
            Payload::ComponentExportSection(section) if depth == 1 => {
                for export in section {
                    let name = export.map_err(|error| invalid(&error))?.name.name;
                    let item = types.component_item_for_export(name);
                    externs.exports.extend(item.map(|item| (name, item)));
                }
            }
            _ => {}
        }
    }
    let wit = if externs.fit_wit() { Wit::of(outline) } else { None };
    let written = document::write(&externs, binary, Producers::of(outline), wit.as_ref());
    written.map_err(|TooLarge { limit }| {
        LoadError::InvalidComponent(format!("a description of it has more than {limit} bytes"))
    })
}

fn invalid(error: &wasmparser::BinaryReaderError) -> LoadError {
    LoadError::InvalidComponent(bounded(&format_args!("{error}"), MAX_ERROR_TEXT_BYTES))
}
