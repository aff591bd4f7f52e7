//! A disk in memory: it can fail, wait, and lose power.

use std::io::{self, ErrorKind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use redb::StorageBackend;

use crate::storage::durable::data_file::Medium;
use crate::storage::durable::store::fill;

/// The unit in which a write can be torn.
const SECTOR: usize = 512;

/// A disk in memory.
#[derive(Debug, Default)]
pub struct Disk {
    state: Mutex<State>,
    /// Told when `state.gate` changes.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// What a read sees.
    seen: Vec<u8>,
    /// What survives a loss of power.
    kept: Vec<u8>,
    /// Writes since the last sync.
    pending: Vec<Write>,
    /// The number of calls.
    calls: u64,
    syncs: u64,
    plan: Plan,
    gate: Gate,
    released: bool,
}

#[derive(Debug, Clone)]
enum Write {
    At(usize, Vec<u8>),
    Len(usize),
}

/// What fails.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Plan {
    /// Nothing.
    #[default]
    Well,
    /// The call with this number, once.
    Once(u64, Trouble),
    /// All calls from this number on.
    From(u64, Trouble),
    /// Growth beyond this size.
    Full(usize),
}

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// Nothing happens.
    Error,
    /// A write writes half, then fails. A sync keeps nothing and forgets what was to be kept, as
    /// Linux does.
    Half,
    /// There is no room.
    NoRoom,
}

/// Whether syncs wait.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Gate {
    /// They do not wait.
    #[default]
    Open,
    /// The next one waits.
    Shut,
    /// One is waiting.
    Waiting,
}

impl Disk {
    /// Returns a disk with a new store.
    pub fn new() -> Arc<Self> {
        let disk = Arc::<Self>::default();
        let medium: Arc<dyn Medium> = disk.clone();
        fill(&medium, 1 << 20).unwrap();
        disk
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub fn calls(&self) -> u64 {
        self.lock().calls
    }

    pub fn syncs(&self) -> u64 {
        self.lock().syncs
    }

    pub fn len(&self) -> usize {
        self.lock().seen.len()
    }

    pub fn is_released(&self) -> bool {
        self.lock().released
    }

    /// From now on this fails. Calls are counted from 0.
    pub fn set_plan(&self, plan: Plan) {
        let mut state = self.lock();
        state.calls = 0;
        state.plan = plan;
    }

    pub fn set_gate(&self, gate: Gate) {
        self.lock().gate = gate;
        self.changed.notify_all();
    }

    pub fn wait_for(&self, gate: Gate) {
        let state = self.lock();
        drop(self.changed.wait_while(state, |state| state.gate != gate).unwrap());
    }

    /// Returns the disk as a loss of power leaves it: what was synced, and any part of what was
    /// written since.
    pub fn after_power_loss(&self, random: &mut fastrand::Rng) -> Arc<Self> {
        let state = self.lock();
        let mut kept = state.kept.clone();
        // Most of the time all or nothing is lost, as with few writes.
        let share = [0, 50, 90, 100][random.usize(..4)];
        for write in &state.pending {
            match write {
                Write::Len(len) if random.u32(..100) < share => kept.resize(*len, 0),
                Write::Len(_) => {}
                Write::At(offset, data) => {
                    for (n, sector) in data.chunks(SECTOR).enumerate() {
                        let at = offset + n * SECTOR;
                        if random.u32(..100) < share && at + sector.len() <= kept.len() {
                            kept[at..at + sector.len()].copy_from_slice(sector);
                        }
                    }
                }
            }
        }
        let state = State { seen: kept.clone(), kept, ..State::default() };
        Arc::new(Self { state: Mutex::new(state), ..Self::default() })
    }
}

impl State {
    /// Counts a call. Returns the trouble that it is in.
    fn begin(&mut self) -> Option<Trouble> {
        let call = self.calls;
        self.calls += 1;
        match self.plan {
            Plan::Once(at, trouble) if at == call => Some(trouble),
            Plan::From(at, trouble) if at <= call => Some(trouble),
            _ => None,
        }
    }

    fn write(&mut self, offset: usize, data: &[u8]) {
        self.seen[offset..offset + data.len()].copy_from_slice(data);
        self.pending.push(Write::At(offset, data.to_vec()));
    }
}

fn error(trouble: Trouble) -> io::Error {
    match trouble {
        Trouble::NoRoom => ErrorKind::StorageFull.into(),
        Trouble::Error | Trouble::Half => io::Error::other("the disk fails"),
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.lock().seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut state = self.lock();
        if let Some(trouble) = state.begin() {
            return Err(error(trouble));
        }
        let offset = usize::try_from(offset).unwrap();
        let data = state.seen.get(offset..offset + out.len());
        out.copy_from_slice(data.ok_or(ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.lock();
        if let Some(trouble) = state.begin() {
            return Err(error(trouble));
        }
        let len = usize::try_from(len).unwrap();
        if let Plan::Full(most) = state.plan
            && len > most.max(state.seen.len())
        {
            return Err(ErrorKind::StorageFull.into());
        }
        state.seen.resize(len, 0);
        state.pending.push(Write::Len(len));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.lock();
        if state.gate == Gate::Shut {
            state.gate = Gate::Waiting;
            self.changed.notify_all();
            state = self.changed.wait_while(state, |state| state.gate != Gate::Open).unwrap();
        }
        state.syncs += 1;
        match state.begin() {
            None => {
                state.kept = state.seen.clone();
                state.pending.clear();
                Ok(())
            }
            Some(trouble) => {
                if trouble == Trouble::Half {
                    state.pending.clear();
                }
                Err(error(trouble))
            }
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.lock();
        let offset = usize::try_from(offset).unwrap();
        match state.begin() {
            None => {
                state.write(offset, data);
                Ok(())
            }
            Some(trouble) => {
                if trouble == Trouble::Half {
                    state.write(offset, &data[..data.len() / 2]);
                }
                Err(error(trouble))
            }
        }
    }
}

impl Medium for Disk {
    fn distrust_cache(&self) {
        let mut state = self.lock();
        // What waits to be written stays; what a failed sync forgot does not.
        let mut seen = state.kept.clone();
        for write in &state.pending {
            match write {
                Write::Len(len) => seen.resize(*len, 0),
                Write::At(offset, data) => {
                    let end = offset + data.len();
                    if seen.len() < end {
                        seen.resize(end, 0);
                    }
                    seen[*offset..end].copy_from_slice(data);
                }
            }
        }
        state.seen = seen;
    }

    fn release(&self) {
        self.lock().released = true;
    }
}
