//! The tools that made a component, as it says itself.

use serde::Serialize;
use wasmparser::{Parser, Payload, ProducersSectionReader};

use crate::runtime::inspection::outline::PRODUCERS;

/// The most tools of a kind.
const MAX_TOOLS: usize = 32;

/// The tools.
#[derive(Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Producers<'a> {
    language: Vec<Tool<'a>>,
    processed_by: Vec<Tool<'a>>,
    sdk: Vec<Tool<'a>>,
}

#[derive(PartialEq, Serialize)]
struct Tool<'a> {
    name: &'a str,
    version: &'a str,
}

impl<'a> Producers<'a> {
    /// Reads what a component and the modules in it say.
    pub fn of(component: &'a [u8]) -> Self {
        let mut producers = Self::default();
        for payload in Parser::new(0).parse_all(component) {
            match payload {
                Ok(Payload::CustomSection(section)) if section.name() == PRODUCERS => {
                    // A section that is malformed says nothing beyond the defect.
                    let _ = producers.read(section.data());
                }
                Ok(_) => {}
                Err(_) => break,
            }
        }
        producers
    }

    fn read(&mut self, section: &'a [u8]) -> Result<(), wasmparser::BinaryReaderError> {
        let reader = wasmparser::BinaryReader::new(section, 0);
        for field in ProducersSectionReader::new(reader)? {
            let field = field?;
            let tools = match field.name {
                "language" => &mut self.language,
                "sdk" => &mut self.sdk,
                _ => &mut self.processed_by,
            };
            for value in field.values {
                let value = value?;
                let tool = Tool { name: value.name, version: value.version };
                if tools.len() < MAX_TOOLS && !tools.contains(&tool) {
                    tools.push(tool);
                }
            }
        }
        Ok(())
    }
}
