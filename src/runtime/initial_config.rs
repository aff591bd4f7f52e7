//! What a load gives to the instances of a component.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use serde_json::Value;

use crate::runtime::program::Program;

/// The arguments of `initialize`, and what WASI shows of them.
#[derive(Default)]
pub struct InitialConfig {
    /// Environment variables.
    pub env: Arc<[(String, String)]>,
    /// Opaque configuration.
    pub data: Option<Vec<u8>>,
    /// The run that the instance is made for, if it is a program's.
    pub program: Option<Program>,
    values: OnceLock<Values>,
}

/// The values of `wasi:config` by key, ascending. Shared, because each call returns them.
pub type Values = Arc<Vec<(Arc<str>, Arc<str>)>>;

impl InitialConfig {
    /// Creates the configuration.
    pub fn new(env: Arc<[(String, String)]>, data: Option<Vec<u8>>) -> Self {
        Self { env, data, program: None, values: OnceLock::new() }
    }

    /// Returns the same configuration for one run of a program.
    pub fn for_run(&self, program: Program) -> Self {
        let (env, data) = (Arc::clone(&self.env), self.data.clone());
        Self { program: Some(program), ..Self::new(env, data) }
    }

    /// Returns the members of the configuration if it is a JSON object, and the environment variables
    /// whose names it does not have.
    pub fn values(&self) -> &Values {
        self.values.get_or_init(|| {
            let env = self.env.iter();
            let mut values: BTreeMap<Arc<str>, Arc<str>> =
                env.map(|(name, value)| (name.as_str().into(), value.as_str().into())).collect();
            let config = self.data.as_deref().map(serde_json::from_slice);
            if let Some(Ok(Value::Object(members))) = config {
                for (name, member) in members {
                    match member {
                        Value::String(text) => values.insert(name.into(), text.into()),
                        other => values.insert(name.into(), other.to_string().into()),
                    };
                }
            }
            Arc::new(values.into_iter().collect())
        })
    }

    /// Returns one of [`InitialConfig::values`].
    pub fn value(&self, name: &str) -> Option<Arc<str>> {
        let values = self.values();
        let found = values.binary_search_by(|(known, _)| (**known).cmp(name)).ok()?;
        values.get(found).map(|(_, value)| Arc::clone(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(config: Option<&str>) -> Vec<(String, String)> {
        let env = [("A", "of env"), ("B", "2")].map(|(name, value)| (name.into(), value.into()));
        let config = InitialConfig::new(env.into(), config.map(|text| text.as_bytes().to_vec()));
        for (name, value) in config.values().iter() {
            assert_eq!(config.value(name).as_ref(), Some(value));
        }
        assert_eq!(config.value("missing"), None);
        config.values().iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
    }

    #[test]
    fn members_of_an_object_come_before_the_environment() {
        let of = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
        };
        let env = of(&[("A", "of env"), ("B", "2")]);
        for none in [None, Some("text"), Some("[1]"), Some("\"A\""), Some("{"), Some("")] {
            assert_eq!(values(none), env, "{none:?}");
        }
        let object = r#"{"A": "1", "c": {"d": [true]}, "n": 1.50, "z": null, "": "empty"}"#;
        let expected = [
            ("", "empty"),
            ("A", "1"),
            ("B", "2"),
            ("c", r#"{"d":[true]}"#),
            ("n", "1.5"),
            ("z", "null"),
        ];
        assert_eq!(values(Some(object)), of(&expected));
    }
}
