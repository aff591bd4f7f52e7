//! Storage: in memory, in a file, in the host; beside redb and SQLite alone. In turns within one
//! run.
//!
//! The backends are compiled from the library's sources, except that of the host: a map behind the C
//! callbacks. It is reached through the functions for hosts, as is the memory beside it, so that
//! the difference of the two is the callbacks'. SQLite is the one of Python's `sqlite3`, in
//! a process of its own: its time for a synced change is the disk's, that for a read is Python's.

#[expect(dead_code, unused_imports, reason = "the bench uses a part of it, without its tests")]
#[path = "../src/core/mod.rs"]
mod core;
#[expect(dead_code, unused_imports, reason = "the storage uses a part of it")]
#[path = "../src/security/mod.rs"]
mod security;
#[expect(dead_code, unused_imports, reason = "the bench uses a part of it, without its tests")]
#[path = "../src/storage/mod.rs"]
mod storage;

mod common;

use std::ffi::CStr;
use std::hint::black_box;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Instant;

use common::host::Host;
use common::host_map;
use common::rounds::{Samples, in_turns, per_second};
use redb::{Database, ReadableDatabase, TableDefinition};
use storage::backend::{Backend, Change, Entry};
use storage::durable::backend::DurableBackend;
use storage::durable::options::{Durability, DurableOptions};
use storage::memory::MemoryBackend;

const ROUNDS: usize = 15;
const NAMESPACE: &str = "app/bench/0";
/// The same for the C functions.
const ID: &CStr = c"app/bench/0";
const VALUE: [u8; 100] = [7; 100];
/// The keys that are read and written.
const KEYS: u32 = 10_000;
const WRITERS: u32 = 64;
const GETS: u32 = 20_000;
const SETS_ALONE: u32 = 300;
const SETS_TOGETHER: u32 = 25;

const TABLE: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("values");

fn main() {
    let directory = tempfile::Builder::new().tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    reads(directory.path());
    writes(directory.path());
    guests(directory.path());
}

fn key(n: u32) -> String {
    format!("key/{:08}", n.wrapping_mul(2_654_435_761) % KEYS)
}

fn durable(path: PathBuf, durability: Durability) -> DurableBackend {
    let options = DurableOptions { durability, ..DurableOptions::new(path) };
    DurableBackend::open(options, Arc::new(|text| eprintln!("{text}"))).unwrap()
}

/// redb alone, with the cache of a durable store.
fn plain(path: &Path) -> Database {
    let mut builder = Database::builder();
    builder.set_cache_size(DurableOptions::new(PathBuf::new()).cache_bytes);
    let database = builder.create(path).unwrap();
    let transaction = database.begin_write().unwrap();
    {
        let mut table = transaction.open_table(TABLE).unwrap();
        for n in 0..KEYS {
            let key = format!("{NAMESPACE}/key/{n:08}");
            table.insert(key.as_str(), VALUE.as_slice()).unwrap();
        }
    }
    transaction.commit().unwrap();
    database
}

fn fill(backend: &dyn Backend) {
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            scope.spawn(move || {
                for n in (writer..KEYS).step_by(WRITERS as usize) {
                    backend.set(NAMESPACE, &format!("key/{n:08}"), VALUE.to_vec()).unwrap();
                }
            });
        }
    });
}

/// Fills a file as redb is filled: in one transaction.
fn apply(backend: &dyn Backend) {
    let changes = (0..KEYS).map(|n| Change {
        key: format!("key/{n:08}").into(),
        to: Some(Entry { value: VALUE.to_vec(), expires: None }),
    });
    backend.apply(NAMESPACE, changes.collect()).unwrap();
}

fn plain_get(database: &Database, n: u32) {
    let key = format!("{NAMESPACE}/{}", key(n));
    let table = database.begin_read().unwrap().open_table(TABLE).unwrap();
    black_box(table.get(key.as_str()).unwrap().unwrap().value().to_vec());
}

fn plain_set(database: &Database, n: u32) {
    let key = format!("{NAMESPACE}/{}", key(n));
    let transaction = database.begin_write().unwrap();
    transaction.open_table(TABLE).unwrap().insert(key.as_str(), VALUE.as_slice()).unwrap();
    transaction.commit().unwrap();
}

fn get(backend: &dyn Backend, n: u32) {
    black_box(backend.get(NAMESPACE, &key(n), u64::MAX).unwrap().unwrap());
}

fn set(backend: &dyn Backend, n: u32) {
    backend.set(NAMESPACE, &key(n), VALUE.to_vec()).unwrap();
}

/// Engines with the storage in memory and with that of the host, filled.
fn hosts() -> [Host; 2] {
    let hosts = [Host::new("{}"), Host::over(host_map::storage())];
    for host in &hosts {
        (0..KEYS).for_each(|n| host.store(ID, &format!("key/{n:08}"), &VALUE));
    }
    hosts
}

/// Operations per second, by one thread and by many at once.
fn rates(alone: u32, together: u32, work: impl Fn(u32) + Sync) -> [f64; 2] {
    static SEED: AtomicU32 = AtomicU32::new(0);
    let seed = SEED.fetch_add(1_000_003, Ordering::Relaxed);
    let start = Instant::now();
    (0..alone).for_each(|n| work(seed.wrapping_add(n)));
    let one = per_second(start.elapsed(), alone);
    let start = Instant::now();
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let work = &work;
            scope.spawn(move || {
                let own = seed.wrapping_add(writer * together);
                (0..together).for_each(|n| work(own.wrapping_add(n)));
            });
        }
    });
    [one, per_second(start.elapsed(), WRITERS * together)]
}

/// SQLite in a process of its own, which runs a number of operations when told.
struct Sqlite {
    _child: Child,
    ask: ChildStdin,
    told: BufReader<ChildStdout>,
}

const SQLITE: &str = "
import sqlite3, sys, threading, time
path, keys, writers = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
def connect():
    c = sqlite3.connect(path, isolation_level=None, timeout=60)
    c.execute('PRAGMA journal_mode=WAL'); c.execute('PRAGMA synchronous=FULL')
    return c
c = connect()
c.execute('CREATE TABLE v (k TEXT PRIMARY KEY, v BLOB) WITHOUT ROWID')
c.execute('BEGIN')
c.executemany('INSERT INTO v VALUES (?, ?)', (('key/%08d' % n, b'7' * 100) for n in range(keys)))
c.execute('COMMIT')
def key(n): return 'key/%08d' % (n * 2654435761 % 2**32 % keys)
def get(c, n): c.execute('SELECT v FROM v WHERE k = ?', (key(n),)).fetchone()
def put(c, n): c.execute('INSERT INTO v VALUES (?, ?) ON CONFLICT DO UPDATE SET v = excluded.v', (key(n), time.time_ns().to_bytes(100, 'big')))
for line in sys.stdin:
    what, alone, together = line.split()
    work = get if what == 'get' else put
    start = time.perf_counter()
    for n in range(int(alone)): work(c, n)
    one = int(alone) / (time.perf_counter() - start)
    def many():
        own = connect()
        barrier.wait()
        for n in range(int(together)): work(own, n)
    barrier = threading.Barrier(writers + 1)
    threads = [threading.Thread(target=many) for _ in range(writers)]
    for t in threads: t.start()
    barrier.wait()
    start = time.perf_counter()
    for t in threads: t.join()
    print(one, int(together) * writers / (time.perf_counter() - start), flush=True)
";

impl Sqlite {
    fn start(path: &Path) -> Self {
        let mut child = Command::new("python3")
            .args(["-c", SQLITE, path.to_str().unwrap(), &KEYS.to_string(), &WRITERS.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3");
        let ask = child.stdin.take().unwrap();
        let told = BufReader::new(child.stdout.take().unwrap());
        Self { _child: child, ask, told }
    }

    fn rates(&mut self, what: &str, alone: u32, together: u32) -> [f64; 2] {
        writeln!(self.ask, "{what} {alone} {together}").unwrap();
        let mut line = String::new();
        self.told.read_line(&mut line).unwrap();
        let (one, many) = line.trim().split_once(' ').unwrap();
        [one.parse().unwrap(), many.parse().unwrap()]
    }
}

fn show(name: &str, [one, many]: &[Samples; 2], [plain_one, plain_many]: &[Samples; 2]) {
    println!(
        "{name:<24} {:>10.0}/s {:>6.2}x   {:>10.0}/s {:>6.2}x",
        one.median(),
        one.over(plain_one),
        many.median(),
        many.over(plain_many),
    );
}

fn head(what: &str) {
    println!("\n{what:<24} {:>20}   {:>20}", "1 thread", "64 threads");
}

fn reads(directory: &Path) {
    let database = plain(&directory.join("read-plain"));
    let file = durable(directory.join("read"), Durability::Sync);
    let memory = MemoryBackend::default();
    apply(&file);
    fill(&memory);
    let [through_c, host] = hosts();
    let mut sqlite = Sqlite::start(&directory.join("read-sqlite"));
    let together = GETS / WRITERS;
    let [plain, file, memory, through_c, host, sqlite] = in_turns(
        ROUNDS,
        [
            &mut || rates(GETS, together, |n| plain_get(&database, n)),
            &mut || rates(GETS, together, |n| get(&file, n)),
            &mut || rates(GETS, together, |n| get(&memory, n)),
            &mut || rates(GETS, together, |n| drop(black_box(through_c.stored(ID, &key(n))))),
            &mut || rates(GETS, together, |n| drop(black_box(host.stored(ID, &key(n))))),
            &mut || sqlite.rates("get", GETS, together),
        ],
    );
    head("get, beside redb");
    show("redb", &plain, &plain);
    show("file", &file, &plain);
    show("memory", &memory, &plain);
    show("memory, through C", &through_c, &plain);
    show("host's, through C", &host, &plain);
    show("SQLite in Python", &sqlite, &plain);
}

fn writes(directory: &Path) {
    let database = plain(&directory.join("write-plain"));
    let file = durable(directory.join("write"), Durability::Sync);
    let interval = durable(directory.join("write-interval"), Durability::Interval);
    let memory = MemoryBackend::default();
    apply(&file);
    apply(&interval);
    fill(&memory);
    let [through_c, host] = hosts();
    let mut sqlite = Sqlite::start(&directory.join("write-sqlite"));
    let [plain, file, interval, memory, through_c, host, sqlite] = in_turns(
        ROUNDS,
        [
            &mut || rates(SETS_ALONE, SETS_TOGETHER, |n| plain_set(&database, n)),
            &mut || rates(SETS_ALONE, SETS_TOGETHER, |n| set(&file, n)),
            &mut || rates(SETS_ALONE, SETS_TOGETHER, |n| set(&interval, n)),
            &mut || rates(SETS_ALONE, SETS_TOGETHER, |n| set(&memory, n)),
            &mut || rates(SETS_ALONE, SETS_TOGETHER, |n| through_c.store(ID, &key(n), &VALUE)),
            &mut || rates(SETS_ALONE, SETS_TOGETHER, |n| host.store(ID, &key(n), &VALUE)),
            &mut || sqlite.rates("put", SETS_ALONE, SETS_TOGETHER / 5),
        ],
    );
    head("set, beside redb");
    show("redb, a sync each", &plain, &plain);
    show("file, sync", &file, &plain);
    show("file, interval", &interval, &plain);
    show("memory", &memory, &plain);
    show("memory, through C", &through_c, &plain);
    show("host's, through C", &host, &plain);
    show("SQLite, WAL and FULL", &sqlite, &plain);
}

/// A component that stores once per message.
fn guests(directory: &Path) {
    let file = |name: &str, rest: &str| {
        let path = directory.join(name);
        format!(r#"{{"storage": {{"path": "{}"{rest}}}}}"#, path.display())
    };
    let engines = [
        Host::new("{}"),
        Host::new(&file("guest", "")),
        Host::new(&file("guest-interval", r#", "durability": "interval""#)),
        Host::over(host_map::storage()),
    ];
    let guest = airssys_wasm_guests::bytes("storage-user");
    let users: Vec<Vec<u64>> = engines
        .iter()
        .map(|engine| {
            (0..WRITERS).map(|n| engine.load(&format!("app/user/{n}"), &guest, "{}")).collect()
        })
        .collect();
    let calls = |at: usize, command: &'static [u8]| {
        let (engine, users) = (&engines[at], &users[at]);
        let start = Instant::now();
        (0..SETS_ALONE).for_each(|_| engine.try_call(users[0], command));
        let one = per_second(start.elapsed(), SETS_ALONE);
        let start = Instant::now();
        thread::scope(|scope| {
            for user in users {
                scope.spawn(|| {
                    (0..SETS_TOGETHER).for_each(|_| engine.try_call(*user, command));
                });
            }
        });
        [one, per_second(start.elapsed(), WRITERS * SETS_TOGETHER)]
    };
    for (what, command) in
        [("a message that sets", &b"set k value"[..]), ("a message that gets", b"get k")]
    {
        let [memory, file, interval, host] = in_turns(
            ROUNDS,
            [
                &mut || calls(0, command),
                &mut || calls(1, command),
                &mut || calls(2, command),
                &mut || calls(3, command),
            ],
        );
        head(&format!("{what}, beside memory"));
        show("memory", &memory, &memory);
        show("file, sync", &file, &memory);
        show("file, interval", &interval, &memory);
        show("host's", &host, &memory);
    }
}
