//! Capabilities: one set of grants, or several.

use serde::Deserialize;

use crate::security::action::Action;
use crate::system::documents::values::{Int, Plural, Table, by_type};

by_type! {
    /// A set of grants, or an array of them, each with an expiry of its own.
    Capabilities, "capabilities", "an object" {
        Set(Box<GrantSet>) = object,
        Sets(Vec<GrantSet>) = array,
    }
}

/// Grants: `json` of `airssys_engine_grant` and `airssys_engine_revoke`, and one set of
/// capabilities. What no grant covers is refused.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "grant-set"))]
#[cfg_attr(test, schemars(extend("not" = {
    "required": ["expires-at-ms", "expires-in-ms"],
    "properties": { "expires-at-ms": { "type": "integer" }, "expires-in-ms": { "type": "integer" } }
})))]
pub struct GrantSet {
    /// Messages to components.
    pub messaging: Option<Messaging>,
    /// Values in namespaces of storage.
    pub storage: Option<Storage>,
    /// Files and directories of the host.
    pub filesystem: Option<Filesystem>,
    /// Connections to hosts, and addresses to listen on.
    pub network: Option<Network>,
    /// Functions of interfaces that the host offers, see `airssys_config_add_interface`.
    pub host: Option<FunctionPatterns>,
    /// When the grants end, in milliseconds since 1970, by the clock of the system. Excludes
    /// `expires-in-ms`. If neither is given, they do not end.
    pub expires_at_ms: Option<Int<0>>,
    /// When the grants end, in milliseconds from the time at which the document is read. Excludes
    /// `expires-at-ms`.
    pub expires_in_ms: Option<Int<0>>,
}

/// A pattern over ids, `namespace/name/instance`: `*` stands for any characters of a segment, and
/// `**` for any number of segments, none included.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "id-pattern"))]
pub struct IdPattern(
    #[cfg_attr(test, schemars(length(min = 1), extend("examples" = ["app/*/0", "app/**"])))]
    pub  String,
);

/// A pattern over functions, `namespace:package/interface#function` without a version: `*` stands
/// for any characters of one of the two segments.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "function-pattern"))]
pub struct FunctionPattern(
    #[cfg_attr(
        test,
        schemars(
            length(min = 1),
            extend("examples" = ["editor:api/buffer#get-line", "editor:api/*"])
        )
    )]
    pub String,
);

/// A host name, `*.name` (one label), `**.name` (any number of labels), an address, `address/bits`
/// or `*`, each with `:port` or for all ports.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "host-pattern"))]
pub struct HostPattern(
    #[cfg_attr(
        test,
        schemars(length(min = 1), extend("examples" = ["*.example.com:443", "10.0.0.0/8"]))
    )]
    pub String,
);

/// An absolute path: a directory with all that is in it, a file, or a directory and a name with
/// wildcards. The directory must exist.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "path-pattern"))]
pub struct PathPattern(
    #[cfg_attr(
        test,
        schemars(length(min = 1), extend("examples" = ["/srv/in", "/srv/out/*.csv"]))
    )]
    pub String,
);

by_type! {
    /// One pattern over ids, or an array of them.
    IdPatterns, "id-patterns", "a pattern or an array of patterns" {
        One(IdPattern) = string,
        Several(Vec<IdPattern>) = array,
    }
}

by_type! {
    /// One pattern over functions, or an array of them.
    FunctionPatterns, "function-patterns", "a pattern or an array of patterns" {
        One(FunctionPattern) = string,
        Several(Vec<FunctionPattern>) = array,
    }
}

by_type! {
    /// One pattern over hosts, or an array of them.
    HostPatterns, "host-patterns", "a pattern or an array of patterns" {
        One(HostPattern) = string,
        Several(Vec<HostPattern>) = array,
    }
}

by_type! {
    /// Messages to components, by action or as an array.
    Messaging, "messaging", "an object" {
        ByAction(MessagingByAction) = object,
        Each(Vec<MessagingGrant>) = array,
    }
}

/// Receivers of messages, by action.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "messaging-by-action"))]
pub struct MessagingByAction {
    /// Receivers of messages that are not answered.
    pub send: Option<IdPatterns>,
    /// Receivers of requests.
    pub request: Option<IdPatterns>,
    /// Receivers of broadcasts.
    pub broadcast: Option<IdPatterns>,
}

/// Permission for one action on messages.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "messaging-grant"))]
pub struct MessagingGrant {
    /// What the component may do.
    pub action: MessagingAction,
    /// The receivers.
    pub target_pattern: IdPattern,
}

by_type! {
    /// Values in namespaces of storage, by action or as an array.
    Storage, "storage", "an object" {
        ByAction(StorageByAction) = object,
        Each(Vec<StorageGrant>) = array,
    }
}

/// Namespaces of storage, by action. A namespace is the id of a component, or the `namespace/name`
/// that components share.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "storage-by-action"))]
pub struct StorageByAction {
    /// Namespaces in which values and keys may be read.
    pub read: Option<IdPatterns>,
    /// Namespaces in which values may be stored.
    pub write: Option<IdPatterns>,
    /// Namespaces in which keys may be removed.
    pub delete: Option<IdPatterns>,
}

by_type! {
    /// An action on the component's own namespace, or one with a pattern over namespaces.
    StorageGrant, "storage-grant", "an action or an object" {
        Own(StorageAction) = string,
        In(StorageIn) = object,
    }
}

/// Permission for one action on storage.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "storage-in"))]
pub struct StorageIn {
    /// What the component may do.
    pub action: StorageAction,
    /// The namespaces. If the key is absent, the component's own.
    pub namespace_pattern: Option<IdPattern>,
}

by_type! {
    /// Files and directories, by path pattern or as an array.
    Filesystem, "filesystem", "an object or an array" {
        ByPath(Table<FilesystemRights>) = object,
        Each(Vec<FilesystemGrant>) = array,
    }
}

by_type! {
    /// What the component may do with the files at a path.
    FilesystemRights, "filesystem-rights", "an action or an array of actions" {
        One(FilesystemAction) = string,
        Several(Vec<FilesystemAction>) = array,
        At(FilesystemAt) = object,
    }
}

impl Plural for FilesystemRights {
    const NAME: &'static str = "actions";
}

/// Permission for actions on the files at the path that is the key.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "filesystem-at"))]
#[cfg_attr(test, schemars(extend("oneOf" = one_member_names_actions())))]
pub struct FilesystemAt {
    /// What the component may do; either this or `actions` is needed.
    pub action: Option<FilesystemActions>,
    /// The same as `action`.
    pub actions: Option<FilesystemActions>,
    /// Where the directory appears to the component. By default, at its path on the host.
    pub guest_path: Option<String>,
}

/// Permission for actions on files.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "filesystem-grant"))]
#[cfg_attr(test, schemars(extend("oneOf" = one_member_names_actions())))]
pub struct FilesystemGrant {
    /// What the component may do; either this or `actions` is needed.
    pub action: Option<FilesystemActions>,
    /// The same as `action`.
    pub actions: Option<FilesystemActions>,
    /// The files.
    pub path_pattern: PathPattern,
    /// Where the directory appears to the component. By default, at its path on the host.
    pub guest_path: Option<String>,
}

by_type! {
    /// One action on files, or an array of them.
    FilesystemActions, "filesystem-actions", "an action or an array of actions" {
        One(FilesystemAction) = string,
        Several(Vec<FilesystemAction>) = array,
    }
}

by_type! {
    /// Hosts, by action or as an array.
    Network, "network", "an object" {
        ByAction(NetworkByAction) = object,
        Each(Vec<NetworkGrant>) = array,
    }
}

/// Hosts, by action.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "network-by-action"))]
pub struct NetworkByAction {
    /// Hosts to look up, to connect to and to send datagrams to. Names and `*` lead to public
    /// addresses only, unless an address is granted as well.
    pub outbound: Option<HostPatterns>,
    /// Addresses to listen on.
    pub inbound: Option<HostPatterns>,
}

/// Permission for one action on the network.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "network-grant"))]
pub struct NetworkGrant {
    /// What the component may do.
    pub action: NetworkAction,
    /// The hosts, or the addresses to listen on.
    pub host_pattern: HostPattern,
    /// The port. If the key is absent, that of the pattern, or any.
    pub port: Option<Int<1, { u16::MAX as u64 }>>,
    /// Whether a name, or `*`, leads to private addresses as well.
    #[cfg_attr(test, schemars(extend("default" = false)))]
    pub private: Option<bool>,
}

/// Declares the actions of one group, with their names in documents.
macro_rules! actions {
    ($(#[$doc:meta])* $name:ident, $schema:literal { $($(#[$variant_doc:meta])* $variant:ident => $action:ident,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        #[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = $schema))]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)+
        }

        impl From<$name> for Action {
            fn from(action: $name) -> Self {
                match action {
                    $($name::$variant => Self::$action,)+
                }
            }
        }
    };
}

actions! {
    /// An action on messages.
    MessagingAction, "messaging-action" {
        /// Messages that are not answered.
        Send => MessagingSend,
        /// Requests.
        Request => MessagingRequest,
        /// Broadcasts.
        Broadcast => MessagingBroadcast,
    }
}

actions! {
    /// An action on storage.
    StorageAction, "storage-action" {
        /// Reading values, keys and their totals.
        Read => StorageRead,
        /// Storing values.
        Write => StorageWrite,
        /// Removing keys.
        Delete => StorageDelete,
    }
}

actions! {
    /// An action on files and directories.
    FilesystemAction, "filesystem-action" {
        /// Reading files and their metadata.
        Read => FilesystemRead,
        /// Writing files, and creating files and directories.
        Write => FilesystemWrite,
        /// Removing files and directories.
        Delete => FilesystemDelete,
        /// Listing directories.
        ListDir => FilesystemListDir,
    }
}

actions! {
    /// An action on the network.
    NetworkAction, "network-action" {
        /// Looking names up, connecting, and sending datagrams.
        Outbound => NetworkOutbound,
        /// Listening.
        Inbound => NetworkInbound,
    }
}

#[cfg(test)]
fn one_member_names_actions() -> serde_json::Value {
    let given = |key: &str| {
        serde_json::json!({
            "required": [key],
            "properties": { key: { "type": ["string", "array"] } }
        })
    };
    serde_json::json!([given("action"), given("actions")])
}
