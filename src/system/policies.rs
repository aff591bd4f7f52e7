//! Policies from JSON.

use serde_json::Value;

use crate::security::action::ActionSet;
use crate::security::policy::{Effect, InvalidRule, Policies, Rule};
use crate::system::json::{self, Object, OptionsError};

const RULE_KEYS: &[&str] = &["component", "action", "resource", "effect", "reason"];

/// Reads a document of the form `{"rules": [...]}`.
pub fn parse(text: &str) -> Result<Policies, OptionsError> {
    read("policies".into(), &json::parse("policies", text)?)
}

/// Reads the member `policies`, an object of the form `{"rules": [...]}`.
pub fn read(place: String, value: &Value) -> Result<Policies, OptionsError> {
    let object = Object::new(place, value, &["rules"])?;
    let place = object.place("rules");
    let rules = match object.get("rules") {
        None => return Ok(Policies::default()),
        Some(Value::Array(rules)) => rules,
        Some(other) => return Err(json::wrong_type(place, "an array of rules", other)),
    };
    let rule = |(at, value)| rule(format!("{place}[{at}]"), value);
    Ok(Policies::new(rules.iter().enumerate().map(rule).collect::<Result<_, _>>()?))
}

fn rule(place: String, value: &Value) -> Result<Rule, OptionsError> {
    let rule = Object::new(place, value, RULE_KEYS)?;
    let name = rule.string("action")?.unwrap_or("*");
    let actions = ActionSet::parse(name).ok_or_else(|| OptionsError::OutOfRange {
        place: rule.place("action"),
        value: format!("{name:?}"),
        expected: "an action such as \"messaging.send\", \"storage.*\", or \"*\"".into(),
    })?;
    let effect = rule.required("effect")?;
    let Some((_, effect)) = Effect::ALL.into_iter().find(|(name, _)| *name == effect) else {
        return Err(json::not_one_of(rule.place("effect"), effect, &Effect::ALL.map(|(n, _)| n)));
    };
    let component = rule.string("component")?.unwrap_or("**");
    let resource = rule.string("resource")?.unwrap_or("**");
    Rule::compile(component, actions, resource, effect, rule.string("reason")?).map_err(|error| {
        let (key, error) = match error {
            InvalidRule::Component(error) => ("component", error),
            InvalidRule::Resource(error) => ("resource", error),
        };
        OptionsError::Invalid { place: rule.place(key), reason: error.to_string() }
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
