//! File systems that are interfaces of the kernel: a read may block forever, a write may change the
//! system.

use std::fs::File;

/// Returns the name of the pseudo file system that holds a file or directory, or `None` for an
/// ordinary one and on systems that cannot tell.
#[cfg(target_os = "linux")]
pub fn pseudo_file_system(file: &File) -> Option<&'static str> {
    let found = nix::sys::statfs::fstatfs(file).ok()?.filesystem_type().0;
    let number = u32::try_from(found & 0xffff_ffff).ok()?;
    PSEUDO.iter().find(|(magic, _)| *magic == number).map(|(_, name)| *name)
}

#[cfg(not(target_os = "linux"))]
pub fn pseudo_file_system(_: &File) -> Option<&'static str> {
    None
}

/// The magic numbers of statfs(2).
#[cfg(target_os = "linux")]
const PSEUDO: [(u32, &str); 19] = [
    (0x0000_9fa0, "procfs"),
    (0x6265_6572, "sysfs"),
    (0x6462_6720, "debugfs"),
    (0x7472_6163, "tracefs"),
    (0x6265_6570, "configfs"),
    (0x7363_6673, "securityfs"),
    (0x0027_e0eb, "cgroup"),
    (0x6367_7270, "cgroup2"),
    (0xcafe_4a11, "bpf"),
    (0x0000_1cd1, "devpts"),
    (0x1980_0202, "mqueue"),
    (0x4249_4e4d, "binfmt_misc"),
    (0xde5e_81e4, "efivarfs"),
    (0x6165_676c, "pstore"),
    (0xf97c_ff8c, "selinuxfs"),
    (0x4341_5d53, "smackfs"),
    (0x6573_5543, "fusectl"),
    (0x6e73_6673, "nsfs"),
    (0x0765_5821, "resctrl"),
];

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn pseudo_files_are_told_from_ordinary_ones() {
        let of = |path: &str| pseudo_file_system(&File::open(path).unwrap());
        assert_eq!(of("/proc"), Some("procfs"));
        assert_eq!(of("/proc/self/status"), Some("procfs"));
        assert_eq!(of("/proc/self/exe"), None, "a link out of it");
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(of(directory.path().to_str().unwrap()), None);
    }
}
