//! Resources of this process. nextest runs each test in its own process.

pub fn resident_kib() -> u64 {
    status_kib("VmRSS:")
}

/// The peak since [`forget_peak`].
pub fn peak_kib() -> u64 {
    status_kib("VmHWM:")
}

pub fn forget_peak() {
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
}

pub fn status_kib(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).expect("a size");
    line.split_whitespace().nth(1).unwrap().parse().expect("a number")
}

pub fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

pub fn mappings() -> usize {
    std::fs::read_to_string("/proc/self/maps").unwrap().lines().count()
}
