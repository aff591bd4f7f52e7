//! Says which imports of a component its host does not have.

use std::fmt::Write;

use wasmtime::component::Component;
use wasmtime::component::types::ComponentItem;

use crate::core::bounds::{MAX_ERROR_TEXT_BYTES, bounded};
use crate::core::id::shorten;
use crate::runtime::driver::attach;
use crate::runtime::host::offered;

/// The most offered interfaces that a message names.
const NAMED: usize = 5;

/// The packages whose next version is WASI 0.3.
const WASI_PACKAGES: [&str; 7] = ["cli", "clocks", "filesystem", "http", "io", "random", "sockets"];

/// Returns why a component could not be linked, given Wasmtime's error.
pub fn explained(component: &Component, error: &wasmtime::Error) -> String {
    let text = missing(component).or_else(|| unfit(error));
    match text {
        Some(text) => bounded(&text, MAX_ERROR_TEXT_BYTES),
        None => bounded(&format_args!("{error:#}"), MAX_ERROR_TEXT_BYTES),
    }
}

/// Says which imported interfaces the host does not offer.
fn missing(component: &Component) -> Option<String> {
    let (engine, types) = (component.engine(), component.component_type());
    let mut missing = types.imports(engine).filter(|(name, import)| {
        let is_wanted = match &import.ty {
            // An interface of types alone needs nobody who offers it.
            ComponentItem::ComponentInstance(instance) => {
                instance.exports(engine).any(|(_, item)| !matches!(item.ty, ComponentItem::Type(_)))
            }
            // Those of an added loop are linked.
            ComponentItem::ComponentFunc(_) => !attach::IMPORTS.contains(name),
            _ => true,
        };
        is_wanted && !offered::has(name)
    });
    let (first, import) = missing.next()?;
    let mut text = match import.ty {
        ComponentItem::ComponentInstance(instance) => {
            let function = instance
                .exports(engine)
                .find(|(_, item)| matches!(item.ty, ComponentItem::ComponentFunc(_)))
                .map(|(name, _)| format!(" (imported function `{}`)", shorten(name)))
                .unwrap_or_default();
            of_interface(first, &function)
        }
        ComponentItem::ComponentFunc(_) => format!(
            "this host offers no function outside of an interface, and the component imports `{}`",
            shorten(first)
        ),
        _ => format!(
            "this host offers interfaces, and `{}`, which the component imports, is none",
            shorten(first)
        ),
    };
    let others: Vec<_> = missing.map(|(name, _)| name).collect();
    if !others.is_empty() {
        let named = others.iter().take(NAMED).map(|name| shorten(name)).collect::<Vec<_>>();
        // Writing to a string cannot fail.
        let _ = write!(text, "; nor does it offer {}", named.join(", "));
        if let Some(more @ 1..) = others.len().checked_sub(NAMED) {
            let _ = write!(text, " and {more} more");
        }
    }
    Some(text)
}

fn of_interface(import: &str, function: &str) -> String {
    let (name, version) = offered::split(import);
    let shown = shorten(import);
    let package = name.strip_prefix("wasi:").and_then(|name| name.split('/').next());
    if version.is_some_and(|version| version.starts_with("0.3."))
        && package.is_some_and(|package| WASI_PACKAGES.contains(&package))
    {
        return format!(
            "the component is made for WASI 0.3: it imports {shown}{function}, and this host offers \
             WASI 0.2; build it for that, in Rust with the target wasm32-wasip2"
        );
    }
    let mut offered = offered::all();
    let versions: Vec<_> = offered
        .iter()
        .map(|known| offered::split(known))
        .filter(|(known, _)| *known == name)
        .map(|(_, version)| {
            version.map_or("no version".to_owned(), |version| format!("@{version}"))
        })
        .collect();
    if !versions.is_empty() {
        let versions = versions.join(" and ");
        let wanted = version.map_or("no version".into(), |version| format!("@{version}"));
        let wanted = shorten(&wanted);
        return format!(
            "this host offers {name} {versions}, and the component wants {wanted}{function}"
        );
    }
    let distance = |known: &str| strsim::damerau_levenshtein(&shown, known);
    offered.sort_by_cached_key(|known| distance(known));
    let more = offered.len().saturating_sub(NAMED);
    offered.truncate(NAMED);
    let offered = offered.join(", ");
    format!(
        "this host does not offer {shown}{function}; it offers {offered} and {more} other interfaces"
    )
}

/// Says which function of an offered interface has another type, or does not exist. Wasmtime has no
/// error type for this.
fn unfit(error: &wasmtime::Error) -> Option<String> {
    let chain: Vec<_> = error.chain().map(|cause| cause.to_string()).collect();
    let between = |text: &str, before: &str| {
        let (_, rest) = text.split_once(before)?;
        rest.split_once('`').map(|(name, _)| name.to_owned())
    };
    let interface = chain.iter().find_map(|text| between(text, "component imports instance `"))?;
    let at = chain.iter().position(|text| text.starts_with("instance export `"))?;
    let export = between(&chain[at], "instance export `")?;
    let reasons = chain.get(at + 1..).unwrap_or_default().join(": ");
    if reasons.ends_with("implementation is missing") {
        return Some(format!("`{export}` is not in the {interface} of this host"));
    }
    Some(format!("`{export}` of {interface} has another type in this host: {reasons}"))
}
