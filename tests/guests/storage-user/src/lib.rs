//! Every storage function as a command.

use guest_kit::{
    Args, Component, ComponentConfig, ComponentError, ComponentMessage, ComponentMetadata, Reply,
    StorageError, outcome, storage,
};

struct StorageUser;
guest_kit::export!(StorageUser);

impl Component for StorageUser {
    fn metadata() -> ComponentMetadata {
        let commands =
            ["set", "get", "delete", "exists", "list", "usage", "fill", "set-hex", "incr"];
        guest_kit::metadata!(true, commands)
    }

    /// Refuses while there is something at the key that `REFUSES_IF` names.
    fn initialize(config: ComponentConfig) -> Result<(), ComponentError> {
        let Some((_, key)) = config.env_vars.iter().find(|(name, _)| name == "REFUSES_IF") else {
            return Ok(());
        };
        match storage::get(key) {
            Ok(None) => Ok(()),
            found => Err(ComponentError::InitializationFailed(format!("{key}: {found:?}"))),
        }
    }

    fn handle_message(message: ComponentMessage) -> Reply {
        let ok = |()| "ok".to_string();
        let mut args = Args::new(&message.payload);
        match args.word()? {
            "set" => outcome(storage::set(args.word()?, args.rest()), ok),
            "set-hex" => outcome(storage::set(&args.hex()?, args.rest()), ok),
            "fill" => outcome(storage::set(args.word()?, &vec![b'x'; args.number()?]), ok),
            "get" => match storage::get(args.word()?) {
                Ok(value) => Ok(value),
                Err(error) => outcome(Err(error), ok),
            },
            "delete" => outcome(storage::delete(args.word()?), ok),
            "exists" => outcome(storage::exists(args.word()?), |found| found.to_string()),
            "list" => {
                let prefix = args.rest_text()?;
                let prefix = (!prefix.is_empty()).then_some(prefix);
                outcome(storage::list_keys(prefix), |keys| keys.join("\n"))
            }
            "usage" => outcome(storage::usage(), |usage| {
                format!("{} {} {}", usage.used_bytes, usage.quota_bytes, usage.key_count)
            }),
            "incr" => outcome(increment(args.word()?), |value| value.to_string()),
            other => Args::unknown(other),
        }
    }
}

fn increment(key: &str) -> Result<u64, StorageError> {
    let value = storage::get(key)?.unwrap_or_default();
    let value = String::from_utf8_lossy(&value).parse().unwrap_or(0) + 1;
    storage::set(key, value.to_string().as_bytes())?;
    Ok(value)
}
