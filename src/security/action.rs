//! The actions that are granted and refused.

/// One kind of action of a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Action {
    /// Sending a fire-and-forget message.
    MessagingSend,
    /// Sending a request.
    MessagingRequest,
    /// Sending a message as part of a broadcast.
    MessagingBroadcast,
    /// Cancelling one of its own requests.
    MessagingCancel,
    /// Seeing another component, in a list or by its metadata.
    DirectoryList,
    /// Reading values, keys and usage.
    StorageRead,
    /// Storing values.
    StorageWrite,
    /// Removing keys.
    StorageDelete,
    /// Reading files and their attributes.
    FilesystemRead,
    /// Writing files, creating files and directories.
    FilesystemWrite,
    /// Removing files and directories.
    FilesystemDelete,
    /// Listing directories.
    FilesystemListDir,
    /// Resolving names, connecting, sending datagrams.
    NetworkOutbound,
    /// Listening.
    NetworkInbound,
    /// Reading environment and arguments, which hold only what the load passed.
    EnvironmentRead,
    /// Random numbers.
    RandomRead,
    /// Clocks.
    ClockRead,
    /// Writing log records and output.
    LogWrite,
    /// Passing data to host functions and opening resources. Appears only in records.
    HostCall,
    /// Calling a function of an interface that the host offers.
    HostFunction,
}

impl Action {
    /// All actions, in the order of their discriminants.
    pub const ALL: [Self; 20] = [
        Self::MessagingSend,
        Self::MessagingRequest,
        Self::MessagingBroadcast,
        Self::MessagingCancel,
        Self::DirectoryList,
        Self::StorageRead,
        Self::StorageWrite,
        Self::StorageDelete,
        Self::FilesystemRead,
        Self::FilesystemWrite,
        Self::FilesystemDelete,
        Self::FilesystemListDir,
        Self::NetworkOutbound,
        Self::NetworkInbound,
        Self::EnvironmentRead,
        Self::RandomRead,
        Self::ClockRead,
        Self::LogWrite,
        Self::HostCall,
        Self::HostFunction,
    ];

    /// Returns the name, `group.verb`.
    pub fn name(self) -> &'static str {
        match self {
            Self::MessagingSend => "messaging.send",
            Self::MessagingRequest => "messaging.request",
            Self::MessagingBroadcast => "messaging.broadcast",
            Self::MessagingCancel => "messaging.cancel",
            Self::DirectoryList => "directory.list",
            Self::StorageRead => "storage.read",
            Self::StorageWrite => "storage.write",
            Self::StorageDelete => "storage.delete",
            Self::FilesystemRead => "filesystem.read",
            Self::FilesystemWrite => "filesystem.write",
            Self::FilesystemDelete => "filesystem.delete",
            Self::FilesystemListDir => "filesystem.list-dir",
            Self::NetworkOutbound => "network.outbound",
            Self::NetworkInbound => "network.inbound",
            Self::EnvironmentRead => "environment.read",
            Self::RandomRead => "random.read",
            Self::ClockRead => "clock.read",
            Self::LogWrite => "log.write",
            Self::HostCall => "host.call",
            Self::HostFunction => "host.function",
        }
    }

    /// Returns the part of the name before the dot.
    pub fn group(self) -> &'static str {
        self.name().split('.').next().unwrap_or_default()
    }

    /// Returns the part of the name after the dot.
    pub fn verb(self) -> &'static str {
        self.name().split('.').nth(1).unwrap_or_default()
    }

    /// Returns the action with this group and verb.
    pub fn find(group: &str, verb: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.group() == group && action.verb() == verb)
    }

    /// Returns whether every component may perform it unless a policy refuses: it reaches nothing
    /// of the host.
    pub fn is_ambient(self) -> bool {
        matches!(
            self,
            Self::MessagingCancel
                | Self::EnvironmentRead
                | Self::RandomRead
                | Self::ClockRead
                | Self::LogWrite
                | Self::HostCall
        )
    }

    /// Returns the kind of resource that the action is on.
    pub fn subject(self) -> Subject {
        match self {
            Self::MessagingSend
            | Self::MessagingRequest
            | Self::MessagingBroadcast
            | Self::DirectoryList => Subject::Id,
            Self::StorageRead | Self::StorageWrite | Self::StorageDelete => Subject::Namespace,
            Self::MessagingCancel => Subject::Request,
            Self::FilesystemRead
            | Self::FilesystemWrite
            | Self::FilesystemDelete
            | Self::FilesystemListDir => Subject::Path,
            Self::NetworkOutbound | Self::NetworkInbound => Subject::Host,
            Self::HostFunction => Subject::Function,
            Self::EnvironmentRead
            | Self::RandomRead
            | Self::ClockRead
            | Self::LogWrite
            | Self::HostCall => Subject::Own,
        }
    }
}

/// The kind of resource of an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A component.
    Id,
    /// A namespace of storage.
    Namespace,
    /// A request.
    Request,
    /// A file or a directory of the host.
    Path,
    /// A host or an address.
    Host,
    /// A function of an interface that the host offers.
    Function,
    /// The component's own single resource of the kind.
    Own,
}

/// The actions of a policy's rule: one, a group (`storage.*`), or all (`*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActionSet(u32);

impl ActionSet {
    /// All actions.
    pub const ALL: Self = Self((1 << Action::ALL.len()) - 1);

    /// Parses the name of an action, `group.*` or `*`.
    pub fn parse(text: &str) -> Option<Self> {
        let group = text.strip_suffix(".*");
        let named = |action: &Action| match group {
            Some(group) => action.group() == group,
            None => text == "*" || action.name() == text,
        };
        let bits = Action::ALL.into_iter().filter(named).map(bit).fold(0, |all, bit| all | bit);
        (bits != 0).then_some(Self(bits))
    }

    /// Returns whether the set contains an action.
    pub fn contains(self, action: Action) -> bool {
        self.0 & bit(action) != 0
    }

    /// Returns the kind of resource shared by all actions of the set, or `None`. Requests are
    /// ignored beside other kinds: their ids arise at run time, so no rule can name one.
    pub fn subject(self) -> Option<Subject> {
        let alone = self == Self(bit(Action::MessagingCancel));
        let counts = |action: &Action| alone || *action != Action::MessagingCancel;
        let named = Action::ALL.into_iter().filter(|action| self.contains(*action));
        let mut subjects = named.filter(counts).map(Action::subject);
        let first = subjects.next()?;
        subjects.all(|subject| subject == first).then_some(first)
    }
}

fn bit(action: Action) -> u32 {
    1 << action as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_find_their_action() {
        for (n, action) in Action::ALL.into_iter().enumerate() {
            assert_eq!(action as usize, n);
            assert_eq!(Action::find(action.group(), action.verb()), Some(action));
        }
    }

    #[test]
    fn sets_hold_one_action_a_group_or_all() {
        let holds = |text: &str| -> Vec<_> {
            let set = ActionSet::parse(text).unwrap();
            Action::ALL.into_iter().filter(|action| set.contains(*action)).collect()
        };
        assert_eq!(holds("storage.read"), [Action::StorageRead]);
        assert_eq!(holds("network.*"), [Action::NetworkOutbound, Action::NetworkInbound]);
        assert_eq!(holds("*"), Action::ALL);
        let subject = |text: &str| ActionSet::parse(text).unwrap().subject();
        assert_eq!(subject("messaging.*"), Some(Subject::Id));
        assert_eq!(subject("messaging.cancel"), Some(Subject::Request));
        assert_eq!(subject("filesystem.*"), Some(Subject::Path));
        assert_eq!(subject("network.outbound"), Some(Subject::Host));
        assert_eq!(subject("*"), None);
        for unknown in ["", "storage", "storage.", "*.read", "files.*", "storage.re*"] {
            assert_eq!(ActionSet::parse(unknown), None, "{unknown:?}");
        }
    }
}
