//! Policies: rules of an engine for all its components.

use std::path::Path;
use std::sync::Arc;

use crate::core::id::{ComponentId, shorten};
use crate::security::action::{Action, ActionSet, Subject};
use crate::security::host_pattern::{Endpoint, EndpointPattern};
use crate::security::pattern::{InvalidPattern, Pattern};
use crate::security::resource::Resource;

/// The effect of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// No later rule refuses. A grant is still needed.
    Allow,
    /// Refuses, whatever is granted.
    Deny,
}

impl Effect {
    /// All effects with their names in documents.
    pub const ALL: [(&'static str, Self); 2] = [("allow", Self::Allow), ("deny", Self::Deny)];

    /// Returns the name in documents.
    pub fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }
}

/// One rule.
#[derive(Debug, PartialEq, Eq)]
pub struct Rule {
    component: Pattern,
    actions: ActionSet,
    resource: ResourcePattern,
    /// The effect of the rule.
    pub effect: Effect,
    /// The author's reason.
    pub reason: Option<Box<str>>,
}

#[derive(Debug, PartialEq, Eq)]
struct ResourcePattern {
    text: Pattern,
    /// The same pattern over hosts and ports; `None` if it is not one.
    endpoint: Option<EndpointPattern>,
    /// `*` or `**`, which match every resource.
    all: bool,
}

impl Rule {
    /// Compiles a rule.
    pub fn compile(
        component: &str,
        actions: ActionSet,
        resource: &str,
        effect: Effect,
        reason: Option<&str>,
    ) -> Result<Self, InvalidRule> {
        Ok(Self {
            component: Pattern::for_ids(component).map_err(InvalidRule::Component)?,
            actions,
            resource: ResourcePattern::compile(resource, actions).map_err(InvalidRule::Resource)?,
            effect,
            reason: reason.map(Into::into),
        })
    }

    fn applies(&self, component: &ComponentId, action: Action, resource: Resource<'_>) -> bool {
        self.actions.contains(action)
            && self.resource.matches(action, resource, self.effect)
            && self.component.matches(component.as_str())
    }
}

/// Which part of a rule is invalid, and why.
#[derive(Debug, PartialEq, Eq)]
pub enum InvalidRule {
    /// The pattern over components.
    Component(InvalidPattern),
    /// The pattern over resources.
    Resource(InvalidPattern),
}

impl ResourcePattern {
    /// Compiles a pattern. One that cannot match any resource of the actions is an error: its rule
    /// would silently refuse nothing.
    fn compile(text: &str, actions: ActionSet) -> Result<Self, InvalidPattern> {
        let trimmed = text.trim_end_matches('/');
        // As in grants, a directory may end with a slash.
        let text = if text.starts_with('/') && !trimmed.is_empty() { trimmed } else { text };
        let (compiled, endpoint) = (Pattern::compile(text)?, EndpointPattern::compile(text));
        let all = matches!(text, "*" | "**");
        match actions.subject() {
            _ if all => {}
            Some(Subject::Id) => _ = Pattern::for_ids(text)?,
            Some(Subject::Namespace) => _ = Pattern::for_namespaces(text)?,
            Some(Subject::Path) => _ = Pattern::for_paths(text)?,
            Some(Subject::Function) => _ = Pattern::for_functions(text)?,
            Some(Subject::Host) => {
                return Ok(Self { text: compiled, endpoint: Some(endpoint?), all });
            }
            Some(Subject::Own) => return Err(InvalidPattern::OnlyOne(shorten(text))),
            Some(Subject::Request) | None => {}
        }
        Ok(Self { text: compiled, endpoint: endpoint.ok(), all })
    }

    fn matches(&self, action: Action, resource: Resource<'_>, effect: Effect) -> bool {
        self.all
            || match resource {
                Resource::Text(path) if action.subject() == Subject::Path => {
                    self.is_on_path(path, effect)
                }
                Resource::Text(text) => self.text.matches(text),
                Resource::File { path, .. } => self.is_on_path(path, effect),
                Resource::Endpoint(endpoint) => self.is_on(endpoint, effect),
                Resource::Found { name, port, address } => {
                    let at = |port| Endpoint::Address((address, port).into());
                    self.is_on(Endpoint::Name { name, port }, effect)
                        || self.is_on(port.map_or(Endpoint::Host(address), at), effect)
                }
                Resource::Own => false,
            }
    }
}

impl ResourcePattern {
    /// Returns whether the rule applies to a path. Refusing a directory refuses everything in it,
    /// just as a grant covers everything in it.
    fn is_on_path(&self, path: &str, effect: Effect) -> bool {
        let above = || Path::new(path).ancestors().skip(1).filter_map(Path::to_str);
        self.text.matches(path)
            || (effect == Effect::Deny && above().any(|directory| self.text.matches(directory)))
    }

    fn is_on(&self, endpoint: Endpoint<'_>, effect: Effect) -> bool {
        // A rule that refuses one port does not refuse the look-up of a name.
        let open = |own: &EndpointPattern| effect == Effect::Allow || own.port.is_none();
        let covers = |own: &EndpointPattern| own.matches(endpoint, true);
        let known = endpoint.port().is_some();
        self.endpoint.as_ref().is_some_and(|own| covers(own) && (known || open(own)))
    }
}

/// Rules in order; the first that applies decides.
#[derive(Debug, Default)]
pub struct Policies {
    rules: Box<[Arc<Rule>]>,
}

impl Policies {
    /// Creates policies from rules in order.
    pub fn new(rules: Vec<Rule>) -> Self {
        Self { rules: rules.into_iter().map(Arc::new).collect() }
    }

    /// Returns the deciding rule and its index, if one applies.
    pub fn find(
        &self,
        component: &ComponentId,
        action: Action,
        resource: Resource<'_>,
    ) -> Option<(usize, &Arc<Rule>)> {
        self.rules.iter().enumerate().find(|(_, rule)| rule.applies(component, action, resource))
    }

    /// Returns whether a rule may refuse an action to a component, depending on the resource.
    pub fn may_deny(&self, component: &ComponentId, action: Action) -> bool {
        self.rules.iter().any(|rule| {
            rule.effect == Effect::Deny
                && rule.actions.contains(action)
                && rule.component.matches(component.as_str())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::security::host_pattern::parse_endpoint;

    fn rule(component: &str, action: &str, resource: &str, effect: Effect) -> Rule {
        let actions = ActionSet::parse(action).unwrap();
        Rule::compile(component, actions, resource, effect, None).unwrap()
    }

    fn decides(policies: &Policies, action: Action, resource: Resource<'_>) -> Option<usize> {
        let component = ComponentId::parse("app/web/0").unwrap();
        policies.find(&component, action, resource).map(|(at, _)| at)
    }

    #[test]
    fn the_first_rule_that_applies_decides() {
        let policies = Policies::new(vec![
            rule("app/web/*", "messaging.*", "app/log/0", Effect::Allow),
            rule("**", "messaging.send", "app/**", Effect::Deny),
            rule("**", "*", "10.0.0.0/8:80", Effect::Deny),
            rule("other/*/*", "*", "**", Effect::Deny),
        ]);
        let send = |target| decides(&policies, Action::MessagingSend, Resource::Text(target));
        assert_eq!(send("app/log/0"), Some(0));
        assert_eq!(send("app/db/0"), Some(1));
        assert_eq!(send("lib/db/0"), None);
        let connect = |to| {
            let endpoint = parse_endpoint(to).unwrap();
            decides(&policies, Action::NetworkOutbound, Resource::Endpoint(endpoint.borrow()))
        };
        assert_eq!(connect("10.1.1.1:80"), Some(2));
        assert_eq!(connect("10.1.1.1:81"), None);
        assert_eq!(connect("10.1.1.1"), None, "a look-up has no port");
        assert_eq!(decides(&policies, Action::ClockRead, Resource::Own), None);
    }

    #[test]
    fn a_refused_directory_includes_everything_in_it() {
        let refused = |pattern: &str, path: &str| {
            let policies = Policies::new(vec![rule("**", "filesystem.*", pattern, Effect::Deny)]);
            decides(&policies, Action::FilesystemRead, Resource::Text(path)).is_some()
        };
        for (pattern, path) in [
            ("/srv/secret", "/srv/secret"),
            ("/srv/secret", "/srv/secret/a/b"),
            ("/srv/secret/", "/srv/secret/a"),
            ("/srv/*", "/srv/a/b"),
            ("/srv/*.d", "/srv/x.d/a/b"),
            ("/", "/anything/at/all"),
        ] {
            assert!(refused(pattern, path), "{pattern} on {path}");
        }
        for (pattern, path) in [
            ("/srv/secret", "/srv"),
            ("/srv/secret", "/srv/secrets/a"),
            ("/srv/*/x", "/srv/a/y"),
            ("/srv/*", "/srv"),
        ] {
            assert!(!refused(pattern, path), "{pattern} on {path}");
        }
        let allowed = Policies::new(vec![
            rule("**", "filesystem.*", "/srv/open", Effect::Allow),
            rule("**", "filesystem.*", "/srv", Effect::Deny),
        ]);
        let of = |path| decides(&allowed, Action::FilesystemRead, Resource::Text(path));
        assert_eq!(of("/srv/open"), Some(0));
        assert_eq!(of("/srv/open/a"), Some(1), "an allow rule covers only the paths that it names");
    }

    #[test]
    fn a_rule_that_cannot_apply_is_refused() {
        let compile = |action, resource| {
            let actions = ActionSet::parse(action).unwrap();
            Rule::compile("**", actions, resource, Effect::Deny, None)
        };
        for (action, resource) in [
            ("network.*", "/etc/**"),
            ("messaging.send", "app/billing"),
            ("messaging.*", "billing"),
            ("directory.list", "app"),
            ("storage.*", "app/a/0/key"),
            ("filesystem.*", "srv/secret"),
            ("filesystem.read", "/srv/../secret"),
            ("filesystem.read", "/srv//secret"),
            ("filesystem.read", "/srv/./secret"),
            ("environment.read", "TOKEN"),
            ("clock.read", "wall"),
        ] {
            let compiled = compile(action, resource);
            assert!(matches!(compiled, Err(InvalidRule::Resource(_))), "{action} {resource}");
        }
        for (action, resource) in [
            ("*", "/etc/**"),
            ("messaging.*", "app/billing/*"),
            ("messaging.cancel", "0000000000000001"),
            ("filesystem.*", "**/secret"),
            ("filesystem.*", "/"),
            ("filesystem.*", "/srv/secret/"),
            ("environment.read", "**"),
            ("clock.read", "*"),
        ] {
            assert!(compile(action, resource).is_ok(), "{action} {resource}");
        }
    }
}
