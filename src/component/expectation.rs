//! What the host expects of a component's metadata.

use semver::{Version, VersionReq};
use thiserror::Error;

use crate::core::metadata::ComponentMetadata;

/// What the host expects of a component's metadata; by default anything will do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expectation {
    /// The name.
    pub name: Option<String>,
    /// What its version must satisfy.
    pub version: Option<VersionReq>,
    /// The version that its version must exceed.
    pub newer_than: Option<String>,
}

/// Why a component is not the expected one.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Unexpected {
    /// It has no metadata.
    #[error("it exports no component-lifecycle, so it has neither name nor version")]
    NoMetadata,
    /// Another name.
    #[error("its name is {found:?}, and {expected:?} was expected")]
    Name {
        /// The name.
        found: String,
        /// The expected one.
        expected: String,
    },
    /// Another version.
    #[error("its version is {found:?}, and {expected} was expected")]
    Version {
        /// The version.
        found: String,
        /// What was expected.
        expected: String,
    },
    /// A version that cannot be compared.
    #[error("its version {found:?} is no semantic version, such as 1.2.3")]
    NotSemantic {
        /// The version.
        found: String,
    },
}

impl Expectation {
    /// Checks the metadata of a component, if it has a life cycle.
    pub fn check(&self, metadata: Option<&ComponentMetadata>) -> Result<(), Unexpected> {
        if *self == Self::default() {
            return Ok(());
        }
        let metadata = metadata.ok_or(Unexpected::NoMetadata)?;
        if let Some(expected) = self.name.as_ref().filter(|name| **name != metadata.name) {
            let (found, expected) = (metadata.name.clone(), expected.clone());
            return Err(Unexpected::Name { found, expected });
        }
        let unexpected = |expected: String| {
            let found = metadata.version.clone();
            Err(Unexpected::Version { found, expected })
        };
        if let Some(required) = &self.version
            && !required.matches(&semantic(&metadata.version)?)
        {
            return unexpected(required.to_string());
        }
        if let Some(before) = &self.newer_than
            && semantic(&metadata.version)? <= semantic(before)?
        {
            return unexpected(format!("one newer than {before}"));
        }
        Ok(())
    }
}

fn semantic(version: &str) -> Result<Version, Unexpected> {
    Version::parse(version).map_err(|_| Unexpected::NotSemantic { found: version.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(version: &str) -> ComponentMetadata {
        ComponentMetadata {
            name: "counter".into(),
            version: version.into(),
            description: String::new(),
            author: String::new(),
            license: String::new(),
            supported_operations: Vec::new(),
            stateful: false,
        }
    }

    #[test]
    fn versions_are_compared_as_semver_says() {
        let newer = |version: &str, than: &str| {
            let newer_than = Some(than.into());
            let expectation = Expectation { newer_than, ..Expectation::default() };
            expectation.check(Some(&metadata(version)))
        };
        for (version, than) in [("1.10.0", "1.9.0"), ("1.0.0", "1.0.0-rc.1"), ("2.0.0", "1.9.9")] {
            assert_eq!(newer(version, than), Ok(()));
            assert!(matches!(newer(than, version), Err(Unexpected::Version { .. })));
        }
        assert!(newer("1.0.0", "1.0.0").is_err());
        let error = newer("today", "1.0.0").unwrap_err().to_string();
        assert_eq!(error, "its version \"today\" is no semantic version, such as 1.2.3");
    }

    #[test]
    fn name_and_requirement_are_checked() {
        let version = Some(VersionReq::parse("^1.2").unwrap());
        let expectation = Expectation { name: Some("counter".into()), version, newer_than: None };
        assert_eq!(expectation.check(Some(&metadata("1.3.0"))), Ok(()));
        let error = expectation.check(Some(&metadata("2.0.0"))).unwrap_err().to_string();
        assert_eq!(error, "its version is \"2.0.0\", and ^1.2 was expected");
        let other = Expectation { name: Some("other".into()), ..Expectation::default() };
        assert!(matches!(other.check(Some(&metadata("1.3.0"))), Err(Unexpected::Name { .. })));
        assert_eq!(expectation.check(None), Err(Unexpected::NoMetadata));
        assert_eq!(Expectation::default().check(None), Ok(()));
    }
}
