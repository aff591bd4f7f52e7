//! Changes and explains the rights of components.

use std::sync::Arc;

use serde_json::json;

use crate::core::id::{ComponentHandle, ComponentId};
use crate::security::action::{Action, Subject};
use crate::security::audit::Basis;
use crate::security::guard::{Decision, Guard};
use crate::security::host_pattern::Endpoint;
use crate::security::resource::{NamedResource, Resource};
use crate::system::capabilities;
use crate::system::engine::Engine;
use crate::system::error::EngineError;
use crate::system::json::not_one_of;
use crate::system::policies;

impl Engine {
    /// Replaces all policies with those of a document, effective from the next decision.
    pub fn set_policies(&self, document: &str) -> Result<(), EngineError> {
        self.authority.set_policies(policies::parse(document)?);
        Ok(())
    }

    /// Adds grants to a component, effective from the next decision.
    pub fn grant(&self, handle: ComponentHandle, document: &str) -> Result<(), EngineError> {
        self.change_grants(handle, |guard| {
            let grants = capabilities::parse(document)?;
            guard.change(|held| {
                let mut changed = held.clone();
                changed.add(grants);
                capabilities::check_places("capabilities", &changed)?;
                *held = changed;
                Ok(())
            })
        })
    }

    /// Revokes some or all grants, effective from the next decision.
    pub fn revoke(
        &self,
        handle: ComponentHandle,
        document: Option<&str>,
    ) -> Result<(), EngineError> {
        self.change_grants(handle, |guard| {
            let Some(document) = document else {
                return guard.change(|held| {
                    held.clear();
                    Ok(())
                });
            };
            let grants = capabilities::parse_names(document)?;
            guard.revoke(&grants).map_err(|not_held| EngineError::NotGranted {
                component: self.name_of(handle),
                action: not_held.action.name(),
                pattern: not_held.text.to_string(),
            })
        })
    }

    fn change_grants(
        &self,
        handle: ComponentHandle,
        change: impl FnOnce(&Guard) -> Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        let pool = self.pool(handle)?;
        let changed = change(&pool.actors().first().spec().context.guard);
        self.hibernate(&pool);
        changed
    }

    /// Explains whether an action would be allowed, and why. Records nothing.
    pub fn explain(
        &self,
        handle: ComponentHandle,
        action: &str,
        resource: &str,
    ) -> Result<String, EngineError> {
        let guard = self.guard_of(handle)?;
        let known = Action::ALL.into_iter().find(|known| known.name() == action);
        let action = known
            .ok_or_else(|| not_one_of("action".into(), action, &Action::ALL.map(Action::name)))?;
        let own = self.name_of(handle);
        let named = NamedResource::read(action, resource, &own);
        let decision = as_enforced(action, &named, &own, guard.decide(action, named.borrow()));
        let document = json!({
            "component": own,
            "action": action.name(),
            "resource": resource,
            "allowed": decision.allowed,
            "by": decision.basis.kind(),
            "rule": decision.basis.to_string(),
            "until-ms": decision.until,
        });
        Ok(document.to_string())
    }

    fn guard_of(&self, handle: ComponentHandle) -> Result<Arc<Guard>, EngineError> {
        let pool = self.look(handle)?;
        Ok(Arc::clone(&pool.actors().first().spec().context.guard))
    }
}

/// Corrects a decision for resources that cannot be reached at all, whatever a pattern covers.
fn as_enforced(
    action: Action,
    named: &NamedResource<'_>,
    own: &str,
    decided: Decision,
) -> Decision {
    let impossible = match (action.subject(), named.borrow()) {
        (Subject::Id, Resource::Text(id)) if action.group() == "storage" && id != own => {
            "a component can reach only its own storage"
        }
        (Subject::Id, Resource::Text(id)) if ComponentId::parse(id).is_err() => {
            "not a component id"
        }
        (Subject::Host, Resource::Text(_)) => "neither a host nor an address",
        (Subject::Host, Resource::Endpoint(Endpoint::Name { .. }))
            if action == Action::NetworkInbound =>
        {
            "listening takes an address, not a name"
        }
        _ => return decided,
    };
    if !decided.allowed {
        return decided;
    }
    Decision { allowed: false, basis: Basis::Never(impossible), until: None }
}
