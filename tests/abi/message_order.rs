//! Messages from one sender to one receiver are handled in order, however they are sent.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::json;

use crate::harness::engine::{Config, Engine, With, eventually};
use crate::harness::properties::for_all;
use crate::harness::requests::Inbox;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    Send,
    /// A component cannot call, so it sends.
    Call,
    Request,
    /// To both receivers.
    Broadcast,
}

/// The messages of one sender: to which receiver, and how.
type Script = Vec<(usize, Way)>;

#[derive(Debug, Clone)]
struct Case {
    workers: usize,
    /// The capacity of the receivers' mailboxes, which block.
    capacity: usize,
    hosts: Vec<Script>,
    components: Vec<Script>,
}

fn cases() -> impl Strategy<Value = Case> {
    let way =
        prop_oneof![Just(Way::Send), Just(Way::Call), Just(Way::Request), Just(Way::Broadcast)];
    let script = vec((0..2_usize, way), 0..40);
    let capacity = prop_oneof![Just(1_usize), Just(2), Just(7), Just(1024)];
    (1..4_usize, capacity, vec(script.clone(), 1..5), vec(script, 0..4)).prop_map(
        |(workers, capacity, hosts, components)| Case { workers, capacity, hosts, components },
    )
}

const RECEIVERS: [&str; 2] = ["app/r/0", "app/r/1"];

/// The receivers of a message.
fn targets((to, way): (usize, Way)) -> Vec<usize> {
    if way == Way::Broadcast { vec![0, 1] } else { vec![to] }
}

fn play_host(engine: &Engine, receivers: &[u64], name: &str, script: &Script, inbox: Inbox) {
    for (n, (to, way)) in script.iter().enumerate() {
        let (to, note) = (receivers[*to], format!("note {name} {n}"));
        match way {
            Way::Send => engine.send(to, note),
            Way::Call => engine.call(to, note).map(drop),
            Way::Request => engine.request(to, note, inbox).map(drop),
            Way::Broadcast => engine.broadcast(receivers, note, With::default()),
        }
        .unwrap_or_else(|failure| panic!("{way:?}: {failure}"));
    }
}

fn play_component(engine: &Engine, sender: u64, name: &str, script: &Script, inbox: Inbox) {
    for (n, (to, way)) in script.iter().enumerate() {
        let (to, all) = (RECEIVERS[*to], RECEIVERS.join(","));
        let command = match way {
            Way::Send | Way::Call => format!("send {to} note {name} {n}"),
            Way::Request => format!("request {to} 600000 note {name} {n}"),
            Way::Broadcast => format!("broadcast {all} note {name} {n}"),
        };
        engine.request(sender, command, inbox).unwrap();
    }
}

fn messages_of_one_sender_stay_in_order(case: Case) {
    let config = Config::new().with(&json!({ "workers": case.workers }).to_string());
    let engine = config.engine();
    let options = json!({
        "mailbox": { "capacity": case.capacity, "when-full": "block" },
        "limits": { "max-execution-time-ms": 600_000 },
    })
    .to_string();
    let receivers = RECEIVERS.map(|id| engine.load_with(id, "requester", &options));
    let patient = r#"{"limits": {"max-execution-time-ms": 600000}}"#;
    let inbox = Inbox::new();
    std::thread::scope(|scope| {
        for (n, script) in case.hosts.iter().enumerate() {
            let (engine, receivers) = (&engine, &receivers);
            scope.spawn(move || play_host(engine, receivers, &format!("h{n}"), script, inbox));
        }
        for (n, script) in case.components.iter().enumerate() {
            let sender = engine.load_with(&format!("app/s/{n}"), "requester", patient);
            play_component(&engine, sender, &format!("c{n}"), script, inbox);
        }
    });
    let named = |kind: char, scripts: &[Script]| {
        let named = scripts
            .iter()
            .enumerate()
            .map(move |(n, script)| (format!("{kind}{n}"), script.clone()));
        named.collect::<Vec<_>>()
    };
    let senders = [named('h', &case.hosts), named('c', &case.components)].concat();
    for (at, receiver) in receivers.iter().enumerate() {
        let expected: BTreeMap<&str, Vec<usize>> = senders
            .iter()
            .map(|(name, script)| {
                let numbers =
                    script.iter().enumerate().filter(|(_, step)| targets(**step).contains(&at));
                (&**name, numbers.map(|(n, _)| n).collect::<Vec<_>>())
            })
            .filter(|(_, numbers)| !numbers.is_empty())
            .collect();
        let count: usize = expected.values().map(Vec::len).sum();
        let notes = eventually("all came", || {
            let notes = engine.json(*receiver, "received");
            (notes.as_array().unwrap().len() >= count).then_some(notes)
        });
        let mut came = BTreeMap::<&str, Vec<usize>>::new();
        for note in notes.as_array().unwrap() {
            let (name, n) = note.as_str().unwrap().split_once(' ').unwrap();
            came.entry(name).or_default().push(n.parse().unwrap());
        }
        assert_eq!(came, expected, "receiver {at}");
    }
}

#[test]
fn messages_of_one_sender_to_one_receiver_stay_in_order() {
    for_all(150, cases(), messages_of_one_sender_stay_in_order);
}
