//! Groups of components.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::component::group_tree::{GroupSpec, GroupTree, Member};
use crate::component::groups::Membership;
use crate::component::pool::Pool;
use crate::core::id::{ComponentHandle, check_part, shorten};
use crate::system::documents::group::GroupDocument;
use crate::system::documents::reader::read;
use crate::system::documents::values::Int;
use crate::system::engine::Engine;
use crate::system::error::EngineError;
use crate::system::json::{self, OptionsError};

impl Engine {
    /// Adds an empty group, whose handle stands for its members.
    pub fn add_group(
        &self,
        name: &str,
        options: Option<&str>,
    ) -> Result<ComponentHandle, EngineError> {
        self.check_running()?;
        if let Err(reason) = check_part(name) {
            return Err(EngineError::InvalidGroupName { name: shorten(name), reason });
        }
        let document: GroupDocument = match options {
            Some(text) => read("options", json::parse("options", text)?)?,
            None => GroupDocument::default(),
        };
        let mut spec = GroupSpec::default();
        if let Some(strategy) = document.strategy {
            spec.strategy = strategy.into();
        }
        spec.limit.most = document.max_restarts.or(spec.limit.most, |Int(most)| most as usize);
        if let Some(Int(millis)) = document.window_ms {
            spec.limit.window = Duration::from_millis(millis);
        }
        let parent = document.group.as_deref().map(|name| self.group_named(name)).transpose()?;
        let handle = ComponentHandle(self.last_handle.fetch_add(1, Ordering::Relaxed) + 1);
        self.groups.add(handle, name, spec, parent)?;
        Ok(handle)
    }

    /// Returns the group that an option names.
    fn group_named(&self, name: &str) -> Result<ComponentHandle, EngineError> {
        self.groups.with(|tree| tree.find(name)).ok_or_else(|| self.no_group(name))
    }

    fn no_group(&self, name: &str) -> EngineError {
        let all = |tree: &mut GroupTree| {
            tree.all().into_iter().filter_map(|handle| tree.name(handle)).collect::<Vec<_>>()
        };
        let names = self.groups.with(all);
        EngineError::Options(OptionsError::OutOfRange {
            place: "options.group".into(),
            value: format!("{:?}", shorten(name)),
            expected: match names.as_slice() {
                [] => "the name of a group; add one first".into(),
                names => format!("the name of a group: {}", some_of(names)),
            },
        })
    }

    /// Returns the place in the group that an option names.
    pub(super) fn membership(
        &self,
        group: Option<&str>,
    ) -> Result<Option<Membership>, EngineError> {
        let Some(name) = group else { return Ok(None) };
        let (groups, group) = (Arc::clone(&self.groups), self.group_named(name)?);
        Ok(Some(Membership { groups, group, name: name.into() }))
    }

    /// Makes a component a member of its group.
    pub(super) fn join_group(&self, pool: &Arc<Pool>) -> Result<(), EngineError> {
        let Some(Membership { groups, group, name }) = membership(pool) else { return Ok(()) };
        match groups.join(*group, pool) {
            true => Ok(()),
            // It was unloaded meanwhile.
            false => Err(self.no_group(name)),
        }
    }

    /// Removes a component from its group.
    pub(super) fn leave_group(&self, pool: &Pool) {
        if let Some(Membership { groups, group, .. }) = membership(pool) {
            groups.leave(*group, pool.handle());
        }
    }

    /// Returns all components that are awake in load order, with those of a group where the group was made.
    pub(super) fn in_order(&self) -> Vec<Arc<Pool>> {
        let mut pools = self.components.awake();
        let paths: HashMap<_, _> = self
            .groups
            .with(|tree| tree.all().into_iter().map(|group| (group, tree.path(group))).collect());
        if paths.is_empty() {
            return pools;
        }
        pools.sort_by_cached_key(|pool| {
            let mut path =
                membership(pool).and_then(|it| paths.get(&it.group).cloned()).unwrap_or_default();
            path.push(pool.handle());
            path
        });
        pools
    }

    /// Unloads the members of a group, the last first, and removes it with the groups in it.
    pub(super) fn unload_group(
        &self,
        group: ComponentHandle,
        unload: impl Fn(ComponentHandle) -> Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        let Some(pools) = self.groups.pools(group) else { return Ok(()) };
        for actor in pools.iter().flat_map(|pool| pool.actors()) {
            self.wait_for(actor)?;
        }
        // First, so that no component comes in meanwhile.
        self.groups.remove(group);
        let (components, mut failed) = (pools.len(), Vec::new());
        for pool in pools.iter().rev() {
            failed.extend(unload(pool.handle()).err().map(|error| (pool.handle(), error)));
        }
        match failed.is_empty() {
            true => Ok(()),
            false => Err(EngineError::Several { components, failed }),
        }
    }

    /// Returns what is known of all groups, as JSON.
    pub fn group_list(&self) -> String {
        let all = self.groups.with(|tree| tree.all());
        let all = all.into_iter().filter_map(|handle| self.group_status(handle));
        all.collect::<Value>().to_string()
    }

    /// Returns what is known of a group; `None` if there is no such group.
    pub(super) fn group_status(&self, handle: ComponentHandle) -> Option<Value> {
        let (mut document, members) = self.groups.with(|tree| {
            let parent = tree.get_mut(handle)?.parent.and_then(|parent| tree.name(parent));
            let group = tree.get_mut(handle)?;
            let document = json!({
                "handle": handle.0,
                "group": &*group.name,
                "state": group.state.name(),
                "strategy": group.spec.strategy.name(),
                "max-restarts": group.spec.limit.most,
                "window-ms": u64::try_from(group.spec.limit.window.as_millis()).unwrap_or(u64::MAX),
                "restarts": group.restarts,
                "restarts-in-window": group.in_window(Instant::now()),
                "within": parent.as_deref(),
            });
            let members = group.members.clone();
            let named = |member: Member| match member {
                Member::Group(group) => (member, tree.name(group)),
                Member::Component(_) => (member, None),
            };
            Some((document, members.into_iter().map(named).collect::<Vec<_>>()))
        })?;
        let members = members.into_iter().filter_map(|(member, name)| match member {
            Member::Group(group) => Some(json!({ "handle": group.0, "group": name.as_deref() })),
            Member::Component(component) => {
                let pool = self.components.get(component)?;
                Some(json!({ "handle": component.0, "id": pool.id().as_str() }))
            }
        });
        document["members"] = members.collect();
        Some(document)
    }
}

/// Returns the place of a component in its group.
fn membership(pool: &Pool) -> Option<&Membership> {
    pool.actors().first().spec().membership.as_ref()
}

/// Returns the name of a component's group.
pub fn group_name(pool: &Pool) -> Option<Arc<str>> {
    membership(pool).map(|it| Arc::clone(&it.name))
}

/// The most names that an error lists.
const SHOWN_NAMES: usize = 8;

fn some_of(names: &[Arc<str>]) -> String {
    let shown: Vec<_> = names.iter().take(SHOWN_NAMES).map(|name| format!("{name:?}")).collect();
    let more = if names.len() > SHOWN_NAMES { ", …" } else { "" };
    format!("{}{more}", shown.join(", "))
}
