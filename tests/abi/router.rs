//! Mail for components of other engines, which the host's router carries.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

use airssys_wasm::*;
use serde_json::{Value, json};

use crate::harness::engine::{Config, Engine, With, eventually};
use crate::harness::gates::Gate;
use crate::harness::requests::Inbox;
use crate::harness::router::{Answer, Letter, Router};

/// What a router received: mail and cancelled tokens.
#[derive(Clone, Default)]
struct Post {
    taken: Arc<Mutex<Vec<Letter>>>,
    tokens: Arc<Mutex<Vec<u64>>>,
}

impl Post {
    fn letters(&self) -> Vec<Letter> {
        self.taken.lock().unwrap().clone()
    }

    fn cancelled(&self) -> Vec<u64> {
        self.tokens.lock().unwrap().clone()
    }

    /// Registers a router that records mail and answers with `on_route`.
    fn attach(
        &self,
        config: &Config,
        on_route: impl Fn(&Letter) -> Answer + Send + Sync + 'static,
    ) -> &'static Router {
        let (post, cancels) = (self.clone(), self.clone());
        let keep = move |letter: &Letter| {
            post.taken.lock().unwrap().push(letter.clone());
            on_route(letter)
        };
        Router::attach(config, keep, move |token| cancels.tokens.lock().unwrap().push(token))
    }
}

/// An engine with a router and a requester.
fn with_router(
    on_route: impl Fn(&Letter) -> Answer + Send + Sync + 'static,
) -> (Engine, u64, Post, &'static Router) {
    let (config, post) = (Config::new().with(r#"{"host-error-texts": true}"#), Post::default());
    let router = post.attach(&config, on_route);
    let engine = config.engine();
    let asker = engine.load("app/asker/0", "requester");
    (engine, asker, post, router)
}

/// Two engines whose routers deliver to each other and complete the requests.
fn two_engines() -> [Arc<OnceLock<Engine>>; 2] {
    let engines = [(); 2].map(|()| Arc::<OnceLock<Engine>>::default());
    for (at, own) in engines.iter().enumerate() {
        let config = Config::new().with(&json!({ "name": format!("e{at}") }).to_string());
        let (own_again, other) = (Arc::clone(own), Arc::clone(&engines[1 - at]));
        let on_route = move |letter: &Letter| {
            let (own, token) = (Arc::clone(&own_again), letter.token);
            let inbox = Inbox::with(move |completed| {
                let own = own.get().unwrap();
                // Fails if the request is no longer open. Tests check the callbacks.
                let _ = match &completed.outcome {
                    Ok(reply) => own.complete(token, reply.as_deref()),
                    Err(failure) => {
                        own.complete_failed(token, failure.status, Some(&failure.message))
                    }
                };
            });
            let other = other.get().unwrap();
            match other.deliver(letter, letter.request.then_some(inbox)) {
                Ok(_) => Answer::Taken,
                Err(failure) => Answer::Refused(failure.status, "refused at the other side"),
            }
        };
        Router::attach(&config, on_route, |_| {});
        assert!(own.set(config.engine()).is_ok());
    }
    engines
}

fn code(callback: &Value) -> String {
    let payload: Value = serde_json::from_str(callback["payload"].as_str().unwrap()).unwrap();
    payload["code"].as_str().unwrap().to_owned()
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}

#[test]
fn the_router_gets_every_field_of_the_mail() {
    let (engine, asker, post, router) = with_router(|_| Answer::Taken);
    let before = now_ms();
    assert_eq!(engine.text(asker, "send far/away/0 hello"), "ok");
    let correlation = engine.text(asker, "request far/away/1 600000 question");
    let after = now_ms();
    assert_eq!(engine.text(asker, "send far/away/2 "), "ok");
    let letters = post.letters();
    assert_eq!(letters.len(), 3);
    for (n, letter) in letters.iter().enumerate() {
        assert_eq!(letter.source, "app/asker/0");
        assert_eq!(letter.target, format!("far/away/{n}"));
    }
    let [message, request, empty] = &letters[..] else { unreachable!() };
    assert_eq!((message.request, &*message.payload), (false, &b"hello"[..]));
    assert_eq!((message.token, message.correlation, message.deadline_ms), (0, 0, 0));
    assert_eq!((request.request, &*request.payload), (true, &b"question"[..]));
    assert_eq!(format!("{:016x}", request.correlation), correlation);
    assert_ne!(request.token, 0);
    assert!((before + 600_000..=after + 600_001).contains(&request.deadline_ms), "{request:?}");
    assert!(empty.payload.is_empty());
    assert_eq!(router.off_native_stack.load(Ordering::SeqCst), 0);
    // Mail for a component of this engine and malformed mail never reach the router.
    assert_eq!(engine.text(asker, "send app/asker/0 note x"), "ok");
    let reply = engine.text(asker, "raw-target 2e 61 62 x");
    assert!(reply.starts_with("error: invalid-message("), "{reply}");
    assert_eq!(post.letters().len(), 3);
}

#[test]
fn a_component_gets_replies_from_another_engine() {
    let [here, there] = two_engines();
    let (here, there) = (here.get().unwrap(), there.get().unwrap());
    let asker = here.load("app/asker/0", "requester");
    there.load("app/probe/0", "probe");
    let notes = there.load("app/notes/0", "requester");
    let correlation = here.text(asker, "request app/probe/0 60000 message");
    let callback = here.callbacks(asker, 1).remove(0);
    assert_eq!(callback["correlation"], correlation);
    assert_eq!(callback["sender"], "app/probe/0");
    let seen: Value = serde_json::from_str(callback["payload"].as_str().unwrap()).unwrap();
    assert_eq!(seen["sender"], "app/asker/0");
    assert_eq!(seen["reply-to"], "app/asker/0");
    assert_eq!(seen["correlation-id"], correlation, "both sides use the same id");
    for n in 0..50 {
        assert_eq!(here.text(asker, &format!("send app/notes/0 note {n}")), "ok");
    }
    let expected: Vec<_> = (0..50).map(|n| n.to_string()).collect();
    assert_eq!(there.json(notes, "received"), json!(expected), "in order");
    // The other direction.
    assert_eq!(there.text(notes, "send app/asker/0 note back"), "ok");
    assert_eq!(here.json(asker, "received"), json!(["back"]));
    let reply = here.text(asker, "send no/such/one x");
    assert_eq!(reply, "error: target-not-found(no/such/one)");
}

#[test]
fn a_failure_in_another_engine_becomes_the_callback_s_code() {
    let [here, there] = two_engines();
    let (here, there) = (here.get().unwrap(), there.get().unwrap());
    let asker = here.load("app/asker/0", "requester");
    there.load("app/probe/0", "probe");
    let limits = r#"{"limits": {"max-execution-time-ms": 100, "max-fuel": 50000000}}"#;
    there.load_with("app/trapper/0", "trapper", limits);
    there.load("app/minimal/0", "minimal");
    there.load("app/wasi/0", "wasi");
    for (n, (target, payload, expected)) in [
        ("app/probe/0", "fail runtime-error words of it", "runtime-error"),
        ("app/probe/0", "fail timeout x", "timeout"),
        ("app/trapper/0", "unreachable", "trap"),
        ("app/wasi/0", "panic secret", "trap"),
        ("app/trapper/0", "sleep 600000", "timeout"),
        ("app/trapper/0", "alloc 500000000", "resource-limit-exceeded"),
        ("app/minimal/0", "x", "export-not-found"),
    ]
    .into_iter()
    .enumerate()
    {
        here.text(asker, &format!("request {target} 60000 {payload}"));
        let callback = here.callbacks(asker, n + 1).remove(n);
        assert_eq!(code(&callback), expected, "{callback}");
        // What it wrote to standard error is for its host.
        assert!(!callback["payload"].as_str().unwrap().contains("secret"), "{callback}");
        if n == 0 {
            assert!(callback["payload"].as_str().unwrap().contains("words of it"), "{callback}");
        }
    }
}

#[test]
fn a_broadcast_reaches_targets_here_and_elsewhere() {
    let [here, there] = two_engines();
    let (here, there) = (here.get().unwrap(), there.get().unwrap());
    let asker = here.load("app/asker/0", "requester");
    let near = here.load("app/near/0", "requester");
    let far = there.load("app/far/0", "requester");
    assert_eq!(here.text(asker, "broadcast app/near/0,app/far/0 note both"), "ok");
    let reply = here.text(asker, "broadcast app/far/0,no/such/one,app/near/0,app/far/0 note again");
    assert!(reply.starts_with("error: delivery-failed("), "{reply}");
    assert!(reply.contains("no/such/one") && !reply.contains("app/"), "{reply}");
    assert_eq!(here.json(near, "received"), json!(["both", "again"]));
    assert_eq!(there.json(far, "received"), json!(["both", "again", "again"]));
}

#[test]
fn a_router_s_refusal_is_an_error_of_the_sender_without_a_callback() {
    for (status, expected) in [
        (Some(AIRSSYS_ERROR_COMPONENT_NOT_FOUND), "error: target-not-found(far/away/0)"),
        (Some(AIRSSYS_ERROR_QUEUE_FULL), "error: queue-full"),
        (Some(AIRSSYS_ERROR_INVALID_MESSAGE), "error: invalid-message(its reason)"),
        (Some(AIRSSYS_ERROR_IO), "error: delivery-failed(its reason)"),
        (Some(-77), "error: delivery-failed(its reason)"),
        (None, "error: delivery-failed("),
    ] {
        let (engine, asker, post, _) = with_router(move |_| match status {
            Some(status) => Answer::Refused(status, "its reason"),
            None => Answer::Nothing,
        });
        for command in ["send far/away/0 x", "request far/away/0 60000 x"] {
            let reply = engine.text(asker, command);
            assert!(reply.starts_with(expected), "{command}: {reply}");
        }
        assert_eq!(engine.stats()["requests"]["outstanding"], 0);
        assert!(post.cancelled().is_empty(), "a refused request is not cancelled");
        let token = post.letters()[1].token;
        let late = engine.complete(token, Some(b"late")).unwrap_err();
        assert_eq!(late.status, AIRSSYS_ERROR_REQUEST_NOT_FOUND);
        assert_eq!(engine.json(asker, "callbacks"), json!([]));
    }
}

#[test]
fn a_request_is_completed_once() {
    let (engine, asker, post, _) = with_router(|_| Answer::Taken);
    let correlation = engine.text(asker, "request far/away/0 600000 x");
    let token = post.letters()[0].token;
    engine.complete(token, Some(b"first")).unwrap();
    for again in [
        engine.complete(token, Some(b"second")),
        engine.complete(token, None),
        engine.complete_failed(token, AIRSSYS_ERROR_TRAP, None),
        engine.complete(0, None),
        engine.complete(u64::MAX, None),
    ] {
        assert_eq!(again.unwrap_err().status, AIRSSYS_ERROR_REQUEST_NOT_FOUND);
    }
    let callbacks = engine.callbacks(asker, 1);
    assert_eq!((callbacks.len(), &callbacks[0]["payload"]), (1, &json!("first")));
    assert_eq!(callbacks[0]["correlation"], correlation);
    // A missing reply is an empty callback.
    engine.text(asker, "request far/away/0 600000 x");
    engine.complete(post.letters()[1].token, None).unwrap();
    let callback = engine.callbacks(asker, 2).remove(1);
    assert_eq!((&callback["payload"], &callback["content-type"]), (&json!(""), &json!(null)));
}

#[test]
fn of_many_threads_that_complete_one_request_one_succeeds() {
    let (engine, asker, post, _) = with_router(|_| Answer::Taken);
    for round in 0..50 {
        engine.text(asker, "request far/away/0 600000 x");
        let token = post.letters()[round].token;
        let won = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (engine, won) = (&engine, &won);
                scope.spawn(move || {
                    let outcome = engine.complete(token, Some(format!("{thread}").as_bytes()));
                    won.fetch_add(usize::from(outcome.is_ok()), Ordering::SeqCst);
                });
            }
        });
        assert_eq!(won.into_inner(), 1);
        assert_eq!(engine.callbacks(asker, round + 1).len(), round + 1);
    }
}

#[test]
fn a_request_may_be_completed_within_route_whatever_route_returns() {
    for refuse in [false, true] {
        let engine = Arc::<OnceLock<Engine>>::default();
        let within = Arc::clone(&engine);
        let (config, post) = (Config::new(), Post::default());
        post.attach(&config, move |letter| {
            let engine = within.get().unwrap();
            engine.complete(letter.token, Some(b"at once")).unwrap();
            if refuse { Answer::Refused(AIRSSYS_ERROR_IO, "after all") } else { Answer::Taken }
        });
        let engine = engine.get_or_init(|| config.engine());
        let asker = engine.load("app/asker/0", "requester");
        let correlation = engine.text(asker, "request far/away/0 30 x");
        let callbacks = engine.callbacks(asker, 1);
        assert_eq!(callbacks[0]["payload"], "at once");
        assert_eq!(callbacks[0]["correlation"], correlation);
        // This outcome is last: a second one of the other request would precede it.
        engine.text(asker, "request far/away/0 30 x");
        assert_eq!(engine.callbacks(asker, 2).len(), 2);
        assert!(post.cancelled().is_empty());
    }
}

#[test]
fn the_router_is_told_of_requests_that_nobody_waits_for_any_more() {
    let (engine, asker, post, router) = with_router(|_| Answer::Taken);
    let cancelled = engine.text(asker, "request far/away/0 600000 x");
    assert_eq!(engine.text(asker, &format!("cancel {cancelled}")), "ok");
    engine.text(asker, "request far/away/0 20 x");
    let callbacks = engine.callbacks(asker, 1);
    assert_eq!(code(&callbacks[0]), "correlation-timeout");
    let completed = engine.text(asker, "request far/away/0 600000 x");
    assert!(!completed.starts_with("error"), "{completed}");
    let tokens: Vec<u64> = post.letters().iter().map(|letter| letter.token).collect();
    engine.complete(tokens[2], None).unwrap();
    eventually("the router is told", || (post.cancelled().len() >= 2).then_some(()));
    assert_eq!(post.cancelled(), tokens[..2]);
    for token in &tokens[..2] {
        let late = engine.complete(*token, Some(b"late")).unwrap_err();
        assert_eq!(late.status, AIRSSYS_ERROR_REQUEST_NOT_FOUND);
    }
    assert_eq!(engine.stats()["requests"], json!({ "outstanding": 0, "late-replies": 2 }));
    assert_eq!(engine.callbacks(asker, 2).len(), 2);
    assert_eq!(router.off_native_stack.load(Ordering::SeqCst), 0);
}

#[test]
fn the_deadline_of_a_request_runs_after_route_returns() {
    // The deadline does not run while the router decides.
    let gate = Gate::default();
    let waits = gate.clone();
    let (engine, asker, post, _) = with_router(move |_| {
        waits.pass();
        Answer::Taken
    });
    let inbox = Inbox::new();
    engine.request(asker, "request far/away/0 1 x", inbox).unwrap();
    gate.reached();
    gate.open();
    let correlation = String::from_utf8(inbox.only().outcome.unwrap().unwrap()).unwrap();
    let callback = engine.callbacks(asker, 1).remove(0);
    assert_eq!(
        (callback["correlation"].as_str().unwrap(), &*code(&callback)),
        (&*correlation, "correlation-timeout")
    );
    eventually("the router is told", || (post.cancelled().len() == 1).then_some(()));
}

#[test]
fn a_slow_route_delays_only_the_sender() {
    let gate = Gate::default();
    let waits = gate.clone();
    let config = Config::new().with(r#"{"workers": 1}"#);
    Router::attach(
        &config,
        move |letter| {
            if letter.payload == b"gate" {
                waits.pass();
            }
            Answer::Taken
        },
        |_| {},
    );
    let engine = config.engine();
    let options = r#"{"limits": {"max-execution-time-ms": 600000}}"#;
    let slow = engine.load_with("app/slow/0", "requester", options);
    let inbox = Inbox::new();
    for _ in 0..3 {
        engine.request(slow, "send far/away/0 gate", inbox).unwrap();
    }
    gate.reached();
    let others = Inbox::new();
    let other = engine.load("app/other/0", "requester");
    for n in 1..=20 {
        engine.request(other, "send far/away/0 x", others).unwrap();
        others.wait(n);
    }
    assert!(inbox.all().is_empty(), "the sender waits");
    gate.open();
    inbox.wait(3);
}

#[test]
fn delivered_mail_has_its_own_sender_and_is_refused_like_the_host_s() {
    let (engine, _, post, _) = with_router(|_| Answer::Taken);
    let probe = engine.load_with("app/probe/0", "probe", r#"{"codecs": ["cbor"]}"#);
    let letter = |target: &str, payload: &str| Letter {
        source: "far/away/0".into(),
        target: target.into(),
        payload: payload.into(),
        ..Letter::default()
    };
    let inbox = Inbox::new();
    let full = Letter {
        request: true,
        correlation: 42,
        content_type: Some("text/x".into()),
        ..letter("app/probe/0", "message")
    };
    let id = engine.deliver(&full, Some(inbox)).unwrap();
    assert_ne!(id, 0);
    let completed = inbox.only();
    assert_eq!(completed.request, id);
    let seen: Value = serde_json::from_slice(&completed.outcome.unwrap().unwrap()).unwrap();
    assert_eq!((&seen["sender"], &seen["reply-to"]), (&json!("far/away/0"), &json!("far/away/0")));
    assert_eq!(
        (&seen["content-type"], &seen["correlation-id"]),
        (&json!("text/x"), &json!("000000000000002a"))
    );

    assert_eq!(engine.deliver(&letter("app/probe/0", "silent"), None), Ok(0));
    let status = |letter: &Letter, inbox| engine.deliver(letter, inbox).unwrap_err().status;
    assert_eq!(status(&letter("no/such/one", ""), None), AIRSSYS_ERROR_COMPONENT_NOT_FOUND);
    assert_eq!(status(&letter("no id", ""), None), AIRSSYS_ERROR_INVALID_ID);
    let nameless = Letter { source: "x".into(), ..letter("app/probe/0", "") };
    assert_eq!(status(&nameless, None), AIRSSYS_ERROR_INVALID_ID);
    assert_eq!(status(&letter("app/probe/0", "payload"), None), AIRSSYS_ERROR_INVALID_MESSAGE);
    let without_callback = Letter { request: true, ..letter("app/probe/0", "len") };
    assert_eq!(status(&without_callback, None), AIRSSYS_ERROR_INVALID_ARGUMENT);
    assert!(post.letters().is_empty(), "delivered mail does not go to the router");
    engine.unload(probe).unwrap();
    engine.shutdown(60_000).unwrap();
    assert_eq!(status(&letter("app/probe/0", ""), None), AIRSSYS_ERROR_ENGINE_STOPPED);
}

#[test]
fn a_delivered_request_ends_at_its_deadline_and_can_be_cancelled() {
    let (gate, config) = (Gate::default(), Config::new());
    gate.attach(&config);
    let engine = config.engine();
    let slow = engine.load("app/slow/0", "chatty");
    engine.send(slow, "log info gate").unwrap();
    gate.reached();
    let letter = |deadline_ms| Letter {
        source: "far/away/0".into(),
        target: "app/slow/0".into(),
        request: true,
        deadline_ms,
        payload: b"log info x".to_vec(),
        ..Letter::default()
    };
    let inbox = Inbox::new();
    let late = [1, now_ms() + 20].map(|at| engine.deliver(&letter(at), Some(inbox)).unwrap());
    for completed in inbox.exactly(&late).values() {
        assert_eq!(completed.status(), AIRSSYS_ERROR_TIMEOUT);
    }
    let open = Inbox::new();
    let id = engine.deliver(&letter(u64::MAX), Some(open)).unwrap();
    engine.cancel(id).unwrap();
    assert_eq!(open.only().status(), AIRSSYS_ERROR_CANCELLED);
    gate.open();
    // Requests that expired while waiting are not handled.
    eventually("the reply to the cancelled one was late", || {
        (engine.stats()["requests"]["late-replies"] == 1).then_some(())
    });
    let messages = &engine.describe(slow).unwrap()["messages"];
    assert_eq!((&messages["handled"], &messages["dropped"]), (&json!(2), &json!(2)));
}

#[test]
fn completing_an_unloaded_sender_s_request_has_no_effect() {
    let (engine, asker, post, router) = with_router(|_| Answer::Taken);
    engine.text(asker, "request far/away/0 600000 x");
    engine.unload(asker).unwrap();
    let heir = engine.load("app/asker/0", "requester");
    let _ = engine.complete(post.letters()[0].token, Some(b"x"));
    assert_eq!(engine.json(heir, "callbacks"), json!([]));
    engine.free();
    drop(engine);
    eventually("the router is dropped", || {
        (router.dropped.load(Ordering::SeqCst) == 1).then_some(())
    });
}

#[test]
fn sends_and_broadcasts_of_the_host_do_not_go_to_the_router() {
    let (engine, asker, post, _) = with_router(|_| Answer::Taken);
    engine.unload(asker).unwrap();
    assert!(engine.send(asker, "x").is_err());
    assert!(engine.broadcast(&[asker], "x", With::default()).is_err());
    assert!(post.letters().is_empty());
}
