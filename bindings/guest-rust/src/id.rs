//! Ids of components as text.

use std::error::Error;
use std::fmt;
use std::str::FromStr;

use crate::ComponentId;

/// A text is no id of a component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidId(String);

impl fmt::Display for InvalidId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no id: write namespace/name/instance", self.0)
    }
}

impl Error for InvalidId {}

impl FromStr for ComponentId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let parts: Vec<&str> = text.split('/').collect();
        match parts[..] {
            [namespace, name, instance] if parts.iter().all(|part| !part.is_empty()) => Ok(Self {
                namespace: namespace.into(),
                name: name.into(),
                instance: instance.into(),
            }),
            _ => Err(InvalidId(text.into())),
        }
    }
}

impl fmt::Display for ComponentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.namespace, self.name, self.instance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_three_segments() {
        let id: ComponentId = "app/greeter/0".parse().unwrap();
        assert_eq!((id.name.as_str(), id.to_string().as_str()), ("greeter", "app/greeter/0"));
        for text in ["", "a", "a/b", "a/b/c/d", "a//c", "/b/c"] {
            let error = text.parse::<ComponentId>().unwrap_err().to_string();
            assert!(error.contains("write namespace/name/instance"), "{error}");
        }
    }
}
