//! WASI functions that take paths and names, read only up to the longest valid length.

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::p2::bindings::filesystem::types::{
    Descriptor, DescriptorFlags, DescriptorStat, ErrorCode, Host as _, HostDescriptor,
    MetadataHashValue, NewTimestamp, OpenFlags, PathFlags,
};
use wasmtime_wasi::p2::bindings::sockets::ip_name_lookup::{Host as _, ResolveAddressStream};
use wasmtime_wasi::p2::bindings::sockets::network::{
    ErrorCode as NetworkError, Host as _, Network,
};

use crate::runtime::lifting::Excerpt;
use crate::runtime::state::HostState;
use crate::runtime::wasi::file_rights::MAX_PATH_BYTES;
use crate::runtime::wasi::sockets::MAX_NAME_BYTES;

type Path = Excerpt<MAX_PATH_BYTES>;
type Name = Excerpt<MAX_NAME_BYTES>;

/// An argument of a function, with a bound on its length.
trait Argument {
    type Taken;

    fn taken(self) -> Result<Self::Taken, ErrorCode>;
}

impl Argument for Path {
    type Taken = String;

    fn taken(self) -> Result<String, ErrorCode> {
        self.whole().map_err(|_| ErrorCode::NameTooLong)
    }
}

macro_rules! as_they_are {
    ($($type:ty),*) => {$(
        impl Argument for $type {
            type Taken = Self;

            fn taken(self) -> Result<Self, ErrorCode> {
                Ok(self)
            }
        }
    )*};
}

as_they_are!(PathFlags, OpenFlags, DescriptorFlags, NewTimestamp, Resource<Descriptor>);

macro_rules! with_paths {
    ($interface:ident: $($name:literal = $method:ident($($value:ident: $type:ty),*) -> $answer:ty;)*) => {$(
        $interface.func_wrap_async(
            concat!("[method]descriptor.", $name),
            |mut store: StoreContextMut<'_, HostState>, (at, $($value,)*): (Resource<Descriptor>, $($type,)*)| {
                Box::new(async move {
                    $(let $value = match $value.taken() {
                        Ok(taken) => taken,
                        Err(error) => return Ok((Err::<$answer, _>(error),)),
                    };)*
                    let mut files = store.data_mut().wasi().files();
                    Ok((match files.$method(at, $($value),*).await {
                        Ok(answer) => Ok(answer),
                        Err(error) => Err(files.convert_error_code(error)?),
                    },))
                })
            },
        )?;
    )*};
}

/// Replaces Wasmtime's versions of these functions.
pub fn link(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let mut interface = linker.instance("wasi:filesystem/types@0.2.12")?;
    with_paths! { interface:
        "create-directory-at" = create_directory_at(path: Path) -> ();
        "stat-at" = stat_at(flags: PathFlags, path: Path) -> DescriptorStat;
        "set-times-at" = set_times_at(
            flags: PathFlags, path: Path, accessed: NewTimestamp, modified: NewTimestamp
        ) -> ();
        "link-at" = link_at(
            flags: PathFlags, path: Path, new_at: Resource<Descriptor>, new_path: Path
        ) -> ();
        "open-at" = open_at(
            flags: PathFlags, path: Path, how: OpenFlags, rights: DescriptorFlags
        ) -> Resource<Descriptor>;
        "readlink-at" = readlink_at(path: Path) -> String;
        "remove-directory-at" = remove_directory_at(path: Path) -> ();
        "rename-at" = rename_at(path: Path, new_at: Resource<Descriptor>, new_path: Path) -> ();
        "symlink-at" = symlink_at(target: Path, path: Path) -> ();
        "unlink-file-at" = unlink_file_at(path: Path) -> ();
        "metadata-hash-at" = metadata_hash_at(flags: PathFlags, path: Path) -> MetadataHashValue;
    }
    let mut interface = linker.instance("wasi:sockets/ip-name-lookup@0.2.12")?;
    interface.func_wrap("resolve-addresses", resolve_addresses)?;
    linker.allow_shadowing(false);
    Ok(())
}

type Lookup = (Result<Resource<ResolveAddressStream>, NetworkError>,);

fn resolve_addresses(
    mut store: StoreContextMut<'_, HostState>,
    (network, name): (Resource<Network>, Name),
) -> wasmtime::Result<Lookup> {
    let Ok(name) = name.whole() else { return Ok((Err(NetworkError::InvalidArgument),)) };
    let mut sockets = store.data_mut().sockets();
    Ok((match sockets.resolve_addresses(network, name) {
        Ok(stream) => Ok(stream),
        Err(error) => Err(sockets.convert_error_code(error)?),
    },))
}
