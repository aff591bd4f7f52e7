//! Temporary shortages of system resources.
//!
//! A seccomp filter passes every system call that creates a resource to a thread of this process,
//! which lets it through or makes it fail like in a real shortage. It sees the calls of all other
//! threads, including those of dependencies. malloc gets its memory in another way, because a Rust
//! program ends without memory.

use std::io::Error;
use std::mem::zeroed;
use std::os::raw::{c_int, c_long};
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use crate::random::Random;

/// A resource that can be short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    Threads,
    Mappings,
    Descriptors,
}

pub const ALL: [Resource; 3] = [Resource::Threads, Resource::Mappings, Resource::Descriptors];

impl Resource {
    pub fn name(self) -> &'static str {
        ["threads", "mappings", "descriptors"][self as usize]
    }

    /// The system calls that create it, and their error.
    fn calls(self) -> (&'static [c_long], c_int) {
        match self {
            Self::Threads => (&[libc::SYS_clone3, libc::SYS_clone], libc::EAGAIN),
            Self::Mappings => {
                (&[libc::SYS_mmap, libc::SYS_mprotect, libc::SYS_mremap], libc::ENOMEM)
            }
            Self::Descriptors => (
                &[
                    libc::SYS_openat,
                    libc::SYS_openat2,
                    libc::SYS_socket,
                    libc::SYS_epoll_create1,
                    libc::SYS_eventfd2,
                    libc::SYS_timerfd_create,
                    libc::SYS_memfd_create,
                    libc::SYS_pipe2,
                    libc::SYS_dup,
                    libc::SYS_dup3,
                ],
                libc::EMFILE,
            ),
        }
    }
}

/// How many of a thousand calls fail, per resource.
static RATES: [AtomicU32; 3] = [const { AtomicU32::new(0) }; 3];
/// How many calls have failed.
static FAILED: [AtomicU64; 3] = [const { AtomicU64::new(0) }; 3];
/// The descriptor on which the filter passes its calls.
static LISTENER: AtomicI32 = AtomicI32::new(-1);

/// Makes `per_thousand` of a thousand calls for a resource fail from now on.
pub fn set(resource: Resource, per_thousand: u32) {
    RATES[resource as usize].store(per_thousand, SeqCst);
}

/// Ends all shortages.
pub fn end() {
    RATES.iter().for_each(|rate| rate.store(0, SeqCst));
}

/// How many calls for a resource have failed.
pub fn failed(resource: Resource) -> u64 {
    FAILED[resource as usize].load(SeqCst)
}

/// Puts this thread and all threads that it starts from now on under the filter.
pub fn begin(seed: u64) -> Result<(), Error> {
    // SAFETY: no other thread runs yet.
    unsafe {
        // One heap that grows by brk, so that no mapping of malloc fails.
        libc::mallopt(libc::M_ARENA_MAX, 1);
        libc::mallopt(libc::M_MMAP_MAX, 0);
    }
    std::thread::Builder::new().name("shortage".into()).spawn(move || decide(seed))?;
    LISTENER.store(filter()?, SeqCst);
    Ok(())
}

fn filter() -> Result<c_int, Error> {
    let calls: Vec<c_long> = ALL.iter().flat_map(|resource| resource.calls().0).copied().collect();
    let instruction = |code: u32, jump: (usize, u8), value: u32| libc::sock_filter {
        code: code as u16,
        jt: jump.0 as u8,
        jf: jump.1,
        k: value,
    };
    // The number of the call is the first field of a filter's input.
    let mut program = vec![instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, (0, 0), 0)];
    for (at, call) in calls.iter().enumerate() {
        let to_the_end = calls.len() - at;
        let equal = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
        program.push(instruction(equal, (to_the_end, 0), *call as u32));
    }
    let answer = libc::BPF_RET | libc::BPF_K;
    program.push(instruction(answer, (0, 0), libc::SECCOMP_RET_ALLOW));
    program.push(instruction(answer, (0, 0), libc::SECCOMP_RET_USER_NOTIF));
    let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: the program lives until the call returns.
    let listener = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        let flags = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program)
    };
    if listener < 0 { Err(Error::last_os_error()) } else { Ok(listener as c_int) }
}

/// `SECCOMP_IOCTL_NOTIF_RECV` and `_SEND`.
const RECEIVE: u64 = 0xc050_2100;
const SEND: u64 = 0xc018_2101;

/// Answers each call without allocating: a thread that waits for the answer may hold the allocator.
fn decide(seed: u64) {
    let mut random = Random::new(seed);
    let listener = loop {
        match LISTENER.load(SeqCst) {
            -1 => std::thread::sleep(Duration::from_millis(1)),
            listener => break listener,
        }
    };
    loop {
        // SAFETY: the kernel fills one struct and reads the other; both are plain numbers.
        unsafe {
            let mut call: libc::seccomp_notif = zeroed();
            if libc::ioctl(listener, RECEIVE, &raw mut call) != 0 {
                continue;
            }
            let mut answer: libc::seccomp_notif_resp = zeroed();
            answer.id = call.id;
            match verdict(&mut random, &call.data) {
                Some(error) => answer.error = -error,
                None => answer.flags = libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32,
            }
            libc::ioctl(listener, SEND, &raw mut answer);
        }
    }
}

/// Rust's standard library ends the process if a new thread cannot map its small signal stack or
/// the guard page before it.
fn is_of_a_starting_thread(data: &libc::seccomp_data) -> bool {
    let [_, len, protection, ..] = data.args;
    let small = len < 64 << 10;
    match c_long::from(data.nr) {
        libc::SYS_mmap => small && protection == (libc::PROT_READ | libc::PROT_WRITE) as u64,
        libc::SYS_mprotect => small && protection == libc::PROT_NONE as u64,
        _ => false,
    }
}

fn verdict(random: &mut Random, data: &libc::seccomp_data) -> Option<c_int> {
    let call = c_long::from(data.nr);
    if is_of_a_starting_thread(data) {
        return None;
    }
    let resource = ALL.into_iter().find(|resource| resource.calls().0.contains(&call))?;
    let rate = RATES[resource as usize].load(SeqCst);
    if random.below(1000) >= rate as usize {
        return None;
    }
    FAILED[resource as usize].fetch_add(1, SeqCst);
    Some(resource.calls().1)
}
