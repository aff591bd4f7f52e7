//! Calls of any exported function with typed values.

use rustc_hash::FxHashMap;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, ComponentExportIndex, Func, ResourceAny, TypedFunc};

use crate::core::bounds::{MAX_ERROR_TEXT_BYTES, bounded};
use crate::core::error::{CallError, LimitBreach, Unfit};
use crate::core::message::Invocation;
use crate::runtime::guest_call::GuestCall;
use crate::runtime::instance::{Instance, on_this_stack};
use crate::runtime::state::make_ready;
use crate::runtime::values::from_json::{self, Checked};
use crate::runtime::values::lift::Answer;
use crate::runtime::values::lower::Arguments;
use crate::runtime::values::resources::Resources;

/// The most resources of one instance that the host may have handles for.
const MAX_RESOURCES: usize = 65_536;

/// The most names that are remembered; a function has several, by its versions.
const MAX_KNOWN: usize = 1024;

/// The most functions that an error lists.
const MAX_OFFERED: usize = 8;

/// Stands before the name of a resource in place of a function: drops it.
const DROP: &str = "[resource-drop]";

/// What an instance remembers for typed calls.
pub struct TypedCalls {
    component: Component,
    wasm: wasmtime::component::Instance,
    known: FxHashMap<Box<str>, Func>,
    resources: Resources,
}

impl TypedCalls {
    /// Creates the record of an instance that has had no typed call yet.
    pub fn new(component: Component, wasm: wasmtime::component::Instance) -> Self {
        Self { component, wasm, known: FxHashMap::default(), resources: Resources::default() }
    }
}

impl Instance {
    /// Calls the function that `invocation` names, with arguments in JSON; returns the result in
    /// JSON. With `on_caller`, runs on this thread's own stack, as in [`Instance::call_on_caller`].
    pub async fn invoke(
        &mut self,
        invocation: &Invocation,
        json: &[u8],
        on_caller: bool,
    ) -> Result<Vec<u8>, CallError> {
        if let Some(unfit) = self.unfit(json.len()) {
            return Err(CallError::DoesNotFit(unfit));
        }
        let function = &*invocation.function;
        if function.contains(DROP) {
            return self.drop_resource(function, json).await;
        }
        let func = self.function(function)?;
        let ty = func.ty(&self.store);
        if ty.async_() {
            let reason = "it is asynchronous (WASI 0.3), which this library does not run";
            return Err(CallError::Uncallable { function: function.to_owned(), reason });
        }
        let Checked { values, passed_on } =
            from_json::arguments(json, ty.params(), &self.typed.resources).map_err(|problem| {
                CallError::InvalidArguments { function: function.to_owned(), problem }
            })?;
        for handle in passed_on {
            self.typed.resources.remove(handle);
        }
        let arguments = Arguments(values);
        match invocation.packed {
            false => self.run_typed::<false>(func, arguments, on_caller).await,
            true => self.run_typed::<true>(func, arguments, on_caller).await,
        }
    }

    async fn run_typed<const PACKED: bool>(
        &mut self,
        func: Func,
        arguments: Arguments,
        on_caller: bool,
    ) -> Result<Vec<u8>, CallError> {
        let func = dynamic::<PACKED>(func);
        let ended = match on_caller {
            true => self.call_on_caller(&func, arguments),
            false => self.begin(&func, arguments).await,
        };
        let Answer { json, resources } = self.conclude(ended)?;
        if !resources.is_empty() && !self.typed.resources.add(resources, MAX_RESOURCES) {
            return Err(CallError::Limit(LimitBreach::Resources { limit: MAX_RESOURCES as u64 }));
        }
        let (bytes, limit) = (json.len() as u64, self.limits.max_message_bytes);
        if bytes > limit {
            return Err(CallError::DoesNotFit(Unfit::Reply { bytes, limit }));
        }
        Ok(json)
    }

    /// Drops the resource of a handle, the only argument.
    async fn drop_resource(&mut self, function: &str, json: &[u8]) -> Result<Vec<u8>, CallError> {
        let invalid = |problem: &str| CallError::InvalidArguments {
            function: function.to_owned(),
            problem: problem.to_owned(),
        };
        let handle = serde_json::from_slice::<[u64; 1]>(json);
        let [handle] = handle.map_err(|_| invalid("args: expected an array of one handle"))?;
        let resource = self.typed.resources.remove(handle);
        let resource = resource.ok_or_else(|| {
            invalid(&format!(
                "args[0]: no resource {handle}: it was dropped or passed on, or its instance has \
                 ended"
            ))
        })?;
        make_ready(&mut self.store, self.fuel);
        let ended = match self.on_caller {
            true => {
                let drop = |store: &mut _| ResourceAny::resource_drop(resource, store);
                on_this_stack(&mut self.store, &self.runtime, &self.limits, drop)
            }
            false => {
                let drop = resource.resource_drop_async(&mut self.store);
                let limit = self.limits.max_execution_time;
                let (ticker, timers) = (&self.runtime.ticker, &self.context.timers);
                GuestCall::new(drop, ticker, &self.off_fiber, limit, timers).await
            }
        };
        self.conclude(ended)?;
        Ok(b"null".to_vec())
    }

    /// Returns the exported function with this name.
    pub(super) fn function(&mut self, name: &str) -> Result<Func, CallError> {
        if let Some(known) = self.typed.known.get(name) {
            return Ok(*known);
        }
        let component = &self.typed.component;
        let index = find(component, name)?;
        let func = self.typed.wasm.get_func(&mut self.store, index).ok_or_else(|| {
            CallError::FunctionNotFound { function: name.to_owned(), offered: None }
        })?;
        if self.typed.known.len() >= MAX_KNOWN {
            self.typed.known.clear();
        }
        self.typed.known.insert(name.into(), func);
        Ok(func)
    }
}

/// Returns a function whose arguments and result are values of types known at run time.
#[expect(unsafe_code, reason = "Wasmtime checks types of its own values only")]
fn dynamic<const PACKED: bool>(func: Func) -> TypedFunc<Arguments, Answer<PACKED>> {
    // SAFETY: `Arguments` and `Answer` follow the type that Wasmtime passes in, whatever it is, and
    // report values that differ from it.
    unsafe { TypedFunc::new_unchecked(func) }
}

/// Finds an exported function: `name`, or `interface#name`; the interface's version may be left out
/// where it is clear.
fn find(component: &Component, name: &str) -> Result<ComponentExportIndex, CallError> {
    let not_found = |offered: Option<String>| CallError::FunctionNotFound {
        function: name.to_owned(),
        offered,
    };
    let found = match name.rsplit_once('#') {
        None => component.get_export_index(None, name),
        Some((interface, function)) => {
            let exact = component.get_export_index(None, interface);
            let within = match exact {
                Some(exact) => Some(exact),
                None => match &*versions_of(component, interface) {
                    [] => None,
                    [only] => component.get_export_index(None, only),
                    several => {
                        let several = several.join(", ");
                        return Err(not_found(Some(bounded(
                            &format_args!("name one of the versions: {several}"),
                            MAX_ERROR_TEXT_BYTES,
                        ))));
                    }
                },
            };
            within.and_then(|within| component.get_export_index(Some(&within), function))
        }
    };
    found.ok_or_else(|| not_found(offered(component, name)))
}

/// Returns the exported interfaces with this name, whatever their versions.
fn versions_of(component: &Component, interface: &str) -> Vec<String> {
    let ty = component.component_type();
    let exports = ty.exports(component.engine()).map(|(name, _)| name);
    exports
        .filter(|name| name.split_once('@').is_some_and(|(name, _)| name == interface))
        .map(str::to_owned)
        .collect()
}

/// Returns the exported functions with the names nearest to this one, for an error.
fn offered(component: &Component, name: &str) -> Option<String> {
    let (engine, ty) = (component.engine(), component.component_type());
    let mut functions: Vec<String> = Vec::new();
    for (export, item) in ty.exports(engine) {
        match item.ty {
            ComponentItem::ComponentFunc(_) => functions.push(export.to_owned()),
            ComponentItem::ComponentInstance(interface) => {
                let within = interface
                    .exports(engine)
                    .filter(|(_, item)| matches!(item.ty, ComponentItem::ComponentFunc(_)));
                functions.extend(within.map(|(function, _)| format!("{export}#{function}")));
            }
            _ => {}
        }
        // Enough to choose from; a component may have a hundred thousand.
        if functions.len() > 1000 {
            break;
        }
    }
    let all = functions.len();
    functions.sort_by_cached_key(|function| strsim::levenshtein(function, name));
    functions.truncate(MAX_OFFERED);
    let more = if all > MAX_OFFERED { ", …" } else { "" };
    let functions = functions.join(", ");
    Some(match all {
        0 => "it exports none".to_owned(),
        _ => bounded(&format_args!("it exports {functions}{more}"), MAX_ERROR_TEXT_BYTES),
    })
}
