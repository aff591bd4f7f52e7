//! Makes bindings for C and Go from WIT, and components from the modules that their compilers make.

use std::path::Path;

use anyhow::{Context, Result, bail};
use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};
use wit_bindgen_core::{Files, WorldGenerator, wit_parser};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["c", wit, directory] => bindings(wit_bindgen_c::Opts::default().build(), wit, directory),
        ["go", wit, directory] => {
            let options = wit_bindgen_go::Opts::default();
            bindings(options.build(), wit, directory)
        }
        ["component", module, output] => component(module, None, output),
        ["component", module, output, wit] => component(module, Some(wit), output),
        _ => {
            bail!("usage: airssys-guest-tools c|go WIT DIRECTORY, or component MODULE OUTPUT [WIT]")
        }
    }
}

/// Bindings for the world `component`, below `directory`.
fn bindings(mut generator: Box<dyn WorldGenerator>, wit: &str, directory: &str) -> Result<()> {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_path(wit).with_context(|| format!("reading {wit}"))?;
    let world = resolve.select_world(&[package], Some("component"))?;
    let mut files = Files::default();
    generator.generate(&mut resolve, world, &mut files)?;
    for (name, content) in files.iter() {
        let path = Path::new(directory).join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(&path, content).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

/// A component from a module that knows WASI 0.1. Its world is in a custom section, or in `wit`.
fn component(module: &str, wit: Option<&str>, output: &str) -> Result<()> {
    let mut module = std::fs::read(module).with_context(|| format!("reading {module}"))?;
    if let Some(wit) = wit {
        let mut resolve = ::wit_parser::Resolve::default();
        let (package, _) = resolve.push_path(wit).with_context(|| format!("reading {wit}"))?;
        let world = resolve.select_world(&[package], Some("component"))?;
        embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)?;
    }
    let component = ComponentEncoder::default()
        .validate(true)
        .module(&module)?
        .adapter(WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER)?
        .encode()?;
    std::fs::write(output, component).with_context(|| format!("writing {output}"))
}
