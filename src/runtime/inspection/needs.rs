//! What a component could ask of its host, by what it imports.

/// The names of all needs, in the order of a document.
pub const ALL: [&str; 8] =
    ["messaging", "storage", "filesystem", "network", "environment", "clock", "random", "log"];

/// Returns the need that an imported function stands for, if any.
pub fn need(interface: &str, function: &str) -> Option<&'static str> {
    let interface = interface.split_once('@').map_or(interface, |(name, _)| name);
    let (package, name) = interface.split_once('/')?;
    match (package, name) {
        ("airssys:core", "host-messaging") if function != "self-id" => Some("messaging"),
        ("airssys:core", "host-services") => match function {
            "log" => Some("log"),
            "list-components" | "get-component-metadata" => Some("messaging"),
            _ => Some("clock"),
        },
        ("airssys:core", "storage") => Some("storage"),
        ("wasi:filesystem", _) => Some("filesystem"),
        ("wasi:sockets", _) => Some("network"),
        ("wasi:clocks", _) => Some("clock"),
        ("wasi:random", _) => Some("random"),
        ("wasi:cli", "environment") => Some("environment"),
        ("wasi:cli", "stdout" | "stderr") => Some("log"),
        _ => None,
    }
}
