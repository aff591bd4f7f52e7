//! Components that send to each other.

use std::sync::mpsc::Receiver;

use super::host::{Host, doorbell};

/// The size of a message in bytes.
pub const PAYLOAD: usize = 16;
/// How many messages a source sends at once.
pub const BURST: u64 = 20_000;

/// Independent pairs of components.
pub struct Pairs {
    pub host: Host,
    /// The two components send to each other.
    pub rallies: Vec<u64>,
    /// One component sends to the other.
    pub streams: Vec<[u64; 2]>,
    done: Receiver<()>,
}

impl Pairs {
    pub fn new(wasm: &[u8], config: &str, pairs: usize) -> Self {
        let (router, done) = doorbell();
        let host = Host::with(config, Some(router));
        let load = |id: String, env: String| {
            let options = format!(r#"{{"env": {{{env}}}, "mailbox": {{"when-full": "block"}}}}"#);
            host.load(&id, wasm, &options)
        };
        let target = |name: &str, pair: usize| format!(r#""TARGET": "bench/{name}/{pair}""#);
        let rally = |pair| {
            let last = r#""LAST": "bench/done/0""#;
            let env = |other| format!("{}, {last}", target(other, pair));
            load(format!("bench/pong/{pair}"), env("ping"));
            load(format!("bench/ping/{pair}"), env("pong"))
        };
        let rallies = (0..pairs).map(rally).collect();
        let stream = |pair| {
            let sink = load(format!("bench/sink/{pair}"), String::new());
            [load(format!("bench/source/{pair}"), target("sink", pair)), sink]
        };
        let streams = (0..pairs).map(stream).collect();
        Self { host, rallies, streams, done }
    }

    /// Runs all pairs at once until each has handled its last message.
    pub fn ping_pong(&self, count: u32) {
        for ping in &self.rallies {
            self.host.send(*ping, &hops(count));
        }
        self.rallies.iter().for_each(|_| self.done.recv().unwrap());
    }

    /// All sources send at full speed. Returns when everything is handled.
    pub fn bursts(&self) {
        let counts = || self.streams.iter().map(|[_, sink]| self.host.count(*sink)).sum::<u64>();
        let before = counts();
        let command = format!("burst {BURST} {PAYLOAD}");
        for [source, _] in &self.streams {
            self.host.send(*source, command.as_bytes());
        }
        for [source, _] in &self.streams {
            self.host.count(*source);
        }
        let after = counts();
        assert_eq!(after - before, BURST * self.streams.len() as u64);
    }
}

/// A message with this many hops.
pub fn hops(count: u32) -> [u8; PAYLOAD] {
    let mut message = [0; PAYLOAD];
    message[..4].copy_from_slice(&count.to_le_bytes());
    message
}
