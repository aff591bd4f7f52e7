//! Interfaces that the host offers: imports of a component that its host implements.

use std::sync::Arc;

use semver::{Version, VersionReq};
use thiserror::Error;
use wasmtime::StoreContextMut;
use wasmtime::component::types::{ComponentFunc, ComponentItem};
use wasmtime::component::{Component, Linker, LinkerInstance, Type, Val};

use crate::core::id::shorten;
use crate::core::ports::{FunctionAnswer, FunctionCall, FunctionOutcome, HostInterface};
use crate::runtime::host::offered::split;
use crate::runtime::host::pending_answers::PendingAnswers;
use crate::runtime::host::work::work;
use crate::runtime::state::HostState;
use crate::runtime::values::{from_json, vals};
use crate::security::guard::Refused;

/// An interface of the host, by its name.
#[derive(Clone)]
pub struct OfferedInterface {
    /// The name, `namespace:package/interface`, with or without `@version`.
    pub name: Arc<str>,
    /// Its functions.
    pub interface: Arc<dyn HostInterface>,
}

/// Why an interface cannot be offered.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidInterface {
    /// The name is malformed.
    #[error("{0:?} is no name of an interface: write namespace:package/interface@1.0.0")]
    Name(String),
    /// The library has this namespace for itself.
    #[error("{0:?} belongs to this library, which offers the interfaces of airssys: and wasi:")]
    Reserved(String),
    /// Another interface has this name.
    #[error("{0:?} is offered already")]
    Twice(String),
    /// There are too many.
    #[error("more than {0} interfaces")]
    TooMany(usize),
}

/// Checks the name of an interface that a host offers.
pub fn checked_name(name: &str) -> Result<Arc<str>, InvalidInterface> {
    let (path, version) = split(name);
    let words = |text: &str| text.split('-').all(is_word);
    let is_named = path.split_once(':').is_some_and(|(namespace, path)| {
        let path = path.split_once('/');
        words(namespace) && path.is_some_and(|(package, name)| words(package) && words(name))
    });
    if !is_named || version.is_some_and(|version| Version::parse(version).is_err()) {
        return Err(InvalidInterface::Name(shorten(name)));
    }
    if path.starts_with("airssys:") || path.starts_with("wasi:") {
        return Err(InvalidInterface::Reserved(shorten(name)));
    }
    Ok(name.into())
}

/// Returns whether this is a word of a kebab-case name.
fn is_word(text: &str) -> bool {
    let starts = text.starts_with(|first: char| first.is_ascii_alphabetic());
    starts && text.chars().all(|letter| letter.is_ascii_alphanumeric())
}

/// All interfaces that the host offers, and the calls of them that it answers later.
#[derive(Clone, Default)]
pub struct Offered {
    interfaces: Arc<[OfferedInterface]>,
    /// The calls under way.
    pub pending: Arc<PendingAnswers>,
}

impl Offered {
    /// Creates the record of these interfaces.
    pub fn new(interfaces: &[OfferedInterface]) -> Self {
        Self { interfaces: interfaces.into(), pending: Arc::default() }
    }

    /// Returns the names of all.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.interfaces.iter().map(|offered| &*offered.name)
    }

    /// Returns whether an import has its interface among them.
    pub fn has(&self, import: &str) -> bool {
        self.find(import).is_some()
    }

    /// Returns the interface for an import, the one of the same version first.
    fn find(&self, import: &str) -> Option<&OfferedInterface> {
        let exact = self.interfaces.iter().find(|offered| *offered.name == *import);
        exact.or_else(|| self.interfaces.iter().find(|offered| serves(&offered.name, import)))
    }
}

/// Returns whether an offered interface serves an import by semantic versioning. One without a
/// version serves all.
fn serves(offered: &str, import: &str) -> bool {
    let (offered, has) = split(offered);
    let (wanted, wants) = split(import);
    offered == wanted
        && match (has, wants) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(has), Some(wants)) => {
                let compatible = VersionReq::parse(&format!("^{wants}"));
                let has = Version::parse(has);
                compatible.is_ok_and(|wanted| has.is_ok_and(|has| wanted.matches(&has)))
            }
        }
}

/// Returns a linker that also has the component's imports that the host offers; `None` if there are
/// none.
pub fn link_offered(
    linker: &Linker<HostState>,
    component: &Component,
    offered: &Offered,
) -> wasmtime::Result<Option<Linker<HostState>>> {
    let (engine, types) = (component.engine(), component.component_type());
    let mut extended = None;
    if offered.interfaces.is_empty() {
        return Ok(None);
    }
    for (import, item) in types.imports(engine) {
        let ComponentItem::ComponentInstance(instance) = item.ty else { continue };
        let Some(interface) = offered.find(import) else { continue };
        let linker: &mut Linker<_> = extended.get_or_insert_with(|| linker.clone());
        let mut defined = linker.instance(import)?;
        for (function, item) in instance.exports(engine) {
            match item.ty {
                ComponentItem::ComponentFunc(_) => {
                    let call = Function::new(interface, import, function, &offered.pending);
                    call.define(&mut defined)?;
                }
                ComponentItem::Resource(_) => wasmtime::bail!(
                    "{import} has the resource {function}: interfaces of a host have functions and \
                     types, but no resources"
                ),
                _ => {}
            }
        }
    }
    Ok(extended)
}

/// One function, as one component imports it.
#[derive(Clone)]
struct Function {
    interface: Arc<dyn HostInterface>,
    import: Arc<str>,
    function: Arc<str>,
    /// `namespace:package/interface#function`, for rights and errors.
    name: Arc<str>,
    pending: Arc<PendingAnswers>,
}

impl Function {
    fn new(
        offered: &OfferedInterface,
        import: &str,
        function: &str,
        pending: &Arc<PendingAnswers>,
    ) -> Self {
        let (interface, _) = split(import);
        Self {
            interface: Arc::clone(&offered.interface),
            import: import.into(),
            function: function.into(),
            name: format!("{interface}#{function}").into(),
            pending: Arc::clone(pending),
        }
    }

    fn define(self, interface: &mut LinkerInstance<'_, HostState>) -> wasmtime::Result<()> {
        let name = Arc::clone(&self.function);
        interface.func_new_async(&name, move |store, ty, arguments, results| {
            let call = self.clone();
            Box::new(async move { call.run(store, ty, arguments, results).await })
        })
    }

    /// Runs one call: checks the right, asks the host off the fiber, and converts both ways.
    async fn run(
        self,
        mut store: StoreContextMut<'_, HostState>,
        ty: ComponentFunc,
        arguments: &[Val],
        results: &mut [Val],
    ) -> wasmtime::Result<()> {
        let result = ty.results().next();
        let context = Arc::clone(&store.data().context);
        if let Err(refused) = context.guard.take_host_function(&self.name) {
            return self.fail(refused.into(), result.as_ref(), results);
        }
        let json = self.arguments(&ty, arguments)?;
        let charge = context.account.charge(json.len() as u64)?;
        work(&mut store, json.len() as u64)?;
        let off_fiber = store.data().off_fiber.clone();
        let pending = self.pending.open();
        let (token, caller) = (pending.token(), context.identity.clone());
        let job = {
            let call = self.clone();
            move || {
                call.interface.call(&FunctionCall {
                    interface: &call.import,
                    function: &call.function,
                    caller: &caller,
                    arguments: &json,
                    token,
                })
            }
        };
        let outcome: FunctionOutcome = match off_fiber.run(job).await {
            FunctionAnswer::Now(outcome) => outcome,
            FunctionAnswer::Later => pending.wait().await,
        };
        drop(charge);
        match outcome {
            Ok(json) => {
                let _charge = context.account.charge(json.len() as u64)?;
                work(&mut store, json.len() as u64)?;
                self.answer(&json, result.as_ref(), results)
            }
            Err(text) => self.fail(wasmtime::Error::msg(text), result.as_ref(), results),
        }
    }

    fn arguments(&self, ty: &ComponentFunc, arguments: &[Val]) -> wasmtime::Result<Vec<u8>> {
        let mut json = vec![b'['];
        for (index, (value, (_, ty))) in arguments.iter().zip(ty.params()).enumerate() {
            if index > 0 {
                json.push(b',');
            }
            vals::write_json(&mut json, value, &ty)
                .map_err(|error| wasmtime::format_err!("{}: {error}", self.name))?;
        }
        json.push(b']');
        Ok(json)
    }

    fn answer(&self, json: &[u8], ty: Option<&Type>, results: &mut [Val]) -> wasmtime::Result<()> {
        let (Some(ty), [result]) = (ty, results) else { return Ok(()) };
        let json = if json.is_empty() { b"null" } else { json };
        let value = from_json::answer(json, ty);
        let value = value.and_then(|value| vals::to_val(value, ty).map_err(|it| it.to_string()));
        *result = value.map_err(|problem| {
            wasmtime::format_err!("the host's answer to {} does not fit: {problem}", self.name)
        })?;
        Ok(())
    }

    /// Reports an error as the function's type has it: by its `result`, or by a trap.
    fn fail(
        &self,
        error: wasmtime::Error,
        ty: Option<&Type>,
        results: &mut [Val],
    ) -> wasmtime::Result<()> {
        let answer = match ty {
            Some(Type::Result(result)) => match result.err() {
                None => Some(None),
                Some(Type::String) => Some(Some(Box::new(Val::String(error.to_string())))),
                Some(_) => None,
            },
            _ => None,
        };
        match (answer, results) {
            (Some(answer), [result]) => {
                *result = Val::Result(Err(answer));
                Ok(())
            }
            // A quota is a limit that its error names.
            _ if error.is::<Refused>() => Err(error),
            _ => Err(wasmtime::format_err!("{}: {error}", self.name)),
        }
    }
}
