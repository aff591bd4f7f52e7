//! What can be granted and refused.

/// One kind of thing that a component does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Action {
    /// A fire-and-forget message.
    MessagingSend,
    /// A request.
    MessagingRequest,
    /// A message that is one of a broadcast.
    MessagingBroadcast,
    /// Taking a request of its own back.
    MessagingCancel,
    /// Seeing another component, in a list or by its metadata.
    DirectoryList,
    /// Reading values, keys and their sums.
    StorageRead,
    /// Storing values.
    StorageWrite,
    /// Removing keys.
    StorageDelete,
    /// Reading files and what is known of them.
    FilesystemRead,
    /// Writing files, making files and directories.
    FilesystemWrite,
    /// Removing files and directories.
    FilesystemDelete,
    /// Listing directories.
    FilesystemListDir,
    /// Looking names up, connecting, sending datagrams.
    NetworkOutbound,
    /// Listening.
    NetworkInbound,
    /// Environment and arguments, which hold only what the load gave.
    EnvironmentRead,
    /// Random numbers.
    RandomRead,
    /// Clocks.
    ClockRead,
    /// Log records and output.
    LogWrite,
    /// What calls of host functions hand over and open; it is in records only.
    HostCall,
}

impl Action {
    /// All, in the order of their numbers.
    pub const ALL: [Self; 19] = [
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
    ];

    /// The name, `group.verb`.
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
        }
    }

    /// What comes before the dot of its name.
    pub fn group(self) -> &'static str {
        self.name().split('.').next().unwrap_or_default()
    }

    /// What comes after the dot of its name.
    pub fn verb(self) -> &'static str {
        self.name().split('.').nth(1).unwrap_or_default()
    }

    /// The action of a group that has this verb.
    pub fn find(group: &str, verb: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.group() == group && action.verb() == verb)
    }

    /// Whether every component may, unless a policy refuses it: nothing of the host is reached.
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

    /// What it is on.
    pub fn subject(self) -> Subject {
        match self {
            Self::MessagingSend
            | Self::MessagingRequest
            | Self::MessagingBroadcast
            | Self::DirectoryList
            | Self::StorageRead
            | Self::StorageWrite
            | Self::StorageDelete => Subject::Id,
            Self::MessagingCancel => Subject::Request,
            Self::FilesystemRead
            | Self::FilesystemWrite
            | Self::FilesystemDelete
            | Self::FilesystemListDir => Subject::Path,
            Self::NetworkOutbound | Self::NetworkInbound => Subject::Host,
            Self::EnvironmentRead
            | Self::RandomRead
            | Self::ClockRead
            | Self::LogWrite
            | Self::HostCall => Subject::Own,
        }
    }
}

/// What kind of thing an action is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A component, or the namespace of its storage.
    Id,
    /// A request.
    Request,
    /// A file or a directory of the host.
    Path,
    /// A host or an address.
    Host,
    /// What is the component's own, of which there is one.
    Own,
}

/// Actions that a policy's rule is about: one, a group's (`storage.*`), or all (`*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActionSet(u32);

impl ActionSet {
    /// All of them.
    pub const ALL: Self = Self((1 << Action::ALL.len()) - 1);

    /// Reads the name of an action, `group.*` or `*`.
    pub fn parse(text: &str) -> Option<Self> {
        let group = text.strip_suffix(".*");
        let named = |action: &Action| match group {
            Some(group) => action.group() == group,
            None => text == "*" || action.name() == text,
        };
        let bits = Action::ALL.into_iter().filter(named).map(bit).fold(0, |all, bit| all | bit);
        (bits != 0).then_some(Self(bits))
    }

    /// Whether it holds an action.
    pub fn contains(self, action: Action) -> bool {
        self.0 & bit(action) != 0
    }

    /// What all its actions are on, if that is the same. Requests do not count beside others: their
    /// ids are made while components run, so that no rule is about one of them.
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
    fn names_lead_back_to_their_action() {
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
