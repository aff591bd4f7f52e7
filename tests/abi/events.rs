//! Events: their order, and which are lost.

use serde_json::json;

use crate::harness::engine::{Config, eventually};
use crate::harness::events::Events;
use crate::harness::gates::Gate;

#[test]
fn events_come_one_at_a_time_in_order_and_are_lost_if_the_host_is_slow() {
    let (config, slow_host) = (Config::new(), Gate::default());
    let waits = slow_host.clone();
    let events = Events::attach(&config, move |_| waits.pass());
    let gate = Gate::default();
    gate.attach(&config);
    let engine = config.engine();
    let mailbox = json!({ "capacity": 1, "when-full": "drop-oldest" });
    let limits = json!({ "max-execution-time-ms": 600_000 });
    let options = json!({ "mailbox": mailbox, "limits": limits }).to_string();
    let slow = engine.load_with("app/slow/0", "chatty", &options);
    engine.send(slow, "log info gate").unwrap();
    gate.reached();
    engine.send(slow, "log info first").unwrap();
    engine.send(slow, "log info 0").unwrap();
    slow_host.reached();
    let sent = 12_000;
    for n in 1..=sent {
        engine.send(slow, format!("log info {n}")).unwrap();
    }
    let lost = engine.stats()["events-lost"].as_u64().unwrap();
    // One event is with the host. A component may have a quarter of the 10,000 places.
    assert_eq!(lost, sent - 2_500);
    assert_eq!(engine.stats()["dead-letters"], sent + 1);
    slow_host.open();
    let all = events.wait(2_502);
    let news = all.last().unwrap();
    assert_eq!((&*news.kind, &news.json["count"]), ("events-lost", &json!(lost)));
    assert_eq!(all.len(), 2_502);
    let numbers = all[1..2_501].iter().map(|event| {
        String::from_utf8(event.payload.clone().unwrap()).unwrap()["log info ".len()..]
            .parse::<u64>()
            .unwrap()
    });
    assert!(numbers.eq(0..2_500), "in order");
    assert_eq!(events.overlapped.load(std::sync::atomic::Ordering::SeqCst), 0);
    gate.open();
}

#[test]
fn a_component_cannot_crowd_out_the_events_of_others() {
    let (config, slow_host) = (Config::new(), Gate::default());
    let waits = slow_host.clone();
    let events = Events::attach(&config, move |_| waits.pass());
    let gate = Gate::default();
    let _journal = gate.attach(&config);
    let engine = config.engine();
    let letters = |id: &str, count: usize| {
        let options = r#"{"mailbox": {"capacity": 20000}}"#;
        let busy = engine.load_with(id, "chatty", options);
        engine.send(busy, "log info gate").unwrap();
        engine.until_busy(busy, 1, 0);
        for _ in 0..count {
            engine.send(busy, "x").unwrap();
        }
        busy
    };
    let noisy = letters("app/noisy/0", 12_000);
    let quiet = letters("app/quiet/0", 1);
    std::thread::scope(|scope| {
        // An unload waits for the running message.
        for handle in [noisy, quiet] {
            let unload = scope.spawn({
                let engine = &engine;
                move || engine.unload(handle).unwrap()
            });
            let expected = if handle == noisy { 12_000 } else { 12_001 };
            eventually("its mail is dead", || {
                (engine.stats()["dead-letters"] == expected).then_some(())
            });
            drop(unload);
        }
        gate.open();
    });
    slow_host.open();
    let came = eventually("the quiet one's came", || {
        let all = events.all();
        all.iter().any(|event| event.json["component"] == "app/quiet/0").then_some(all)
    });
    let noisy = came.iter().filter(|event| event.json["component"] == "app/noisy/0").count();
    assert!(noisy <= 2_501, "{noisy}");
}
