//! Policies, parsed from JSON.

use crate::security::action::ActionSet;
use crate::security::policy::{InvalidRule, Policies, Rule};
use crate::system::documents::policies::{PoliciesDocument, RuleDocument};
use crate::system::documents::reader::read;
use crate::system::documents::values::List;
use crate::system::json::{self, OptionsError};

/// Parses a document of the form `{"rules": [...]}`.
pub fn parse(text: &str) -> Result<Policies, OptionsError> {
    compiled("policies", read("policies", json::parse("policies", text)?)?)
}

/// Returns the policies of the document at `place`.
pub fn compiled(place: &str, document: PoliciesDocument) -> Result<Policies, OptionsError> {
    let rules = document.rules.into_iter().flat_map(|List(rules)| rules).enumerate();
    let rules = rules.map(|(at, document)| rule(|| format!("{place}.rules[{at}]"), document));
    Ok(Policies::new(rules.collect::<Result<_, _>>()?))
}

fn rule(place: impl Fn() -> String, document: RuleDocument) -> Result<Rule, OptionsError> {
    let component = document.component.as_ref().map_or("**", |pattern| &pattern.0);
    let actions = document.action.map_or(ActionSet::ALL, |pattern| pattern.0);
    let resource = document.resource.as_deref().unwrap_or("**");
    let reason = document.reason.as_deref();
    Rule::compile(component, actions, resource, document.effect.into(), reason).map_err(|error| {
        let (key, error) = match error {
            InvalidRule::Component(error) => ("component", error),
            InvalidRule::Resource(error) => ("resource", error),
        };
        OptionsError::Invalid { place: format!("{}.{key}", place()), reason: error.to_string() }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_place() {
        for (text, expected) in [
            (r#"{"rule": []}"#, r#"policies: unknown key "rule", did you mean "rules"?"#),
            (r#"{"rules": {}}"#, "policies.rules: an array of rules expected, an object found"),
            (r#"{"rules": [{}]}"#, "policies.rules[0].effect: a string expected, nothing found"),
            (
                r#"{"rules": [{"effect": "forbid"}]}"#,
                r#"policies.rules[0].effect: "forbid" is not allowed, "allow" or "deny" expected"#,
            ),
            (
                r#"{"rules": [{"effect": "deny", "action": "storage"}]}"#,
                r#"policies.rules[0].action: "storage" is not allowed, an action such as"#,
            ),
            (
                r#"{"rules": [{"effect": "deny"}, {"effect": "deny", "component": "app"}]}"#,
                r#"policies.rules[1].component: "app" can match no component id"#,
            ),
            (
                r#"{"rules": [{"effect": "deny", "action": "network.*", "resource": "a b"}]}"#,
                "policies.rules[0].resource: \"a b\" is neither a host name",
            ),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
        assert!(parse("{}").is_ok() && parse(r#"{"rules": [{"effect": "deny"}]}"#).is_ok());
    }
}
