//! Listening and incoming datagrams beyond the grants.

use std::io::Read;
use std::net::{SocketAddr, TcpListener, UdpSocket};

use airssys_wasm::*;
use serde_json::json;

use crate::harness::server::{Server, outbound};
use crate::harness::stage::{Stage, not_granted};

#[test]
fn nobody_listens_without_a_grant() {
    let stage = Stage::new();
    // Also with a right to send, which includes binding.
    for granted in [false, true] {
        let sends = json!({"network": {"outbound": ["*", "127.0.0.1"]}});
        let rights = if granted { sends } else { json!({}) };
        let thief = stage.load("app/thief/0", "wasi", rights);
        // Port 0 is recorded without a port.
        for (address, named) in [
            ("127.0.0.1:0", "127.0.0.1"),
            ("127.0.0.1:18080", "127.0.0.1:18080"),
            ("[::1]:0", "::1"),
            ("0.0.0.0:18080", "0.0.0.0:18080"),
        ] {
            for command in ["listen", "hold-listener", "udp-bind"] {
                let observed = stage.observe(&thief, &format!("{command} {address}"));
                assert!(observed.text().starts_with("error: "), "{address}: {}", observed.text());
                let denials = observed.denials();
                assert_eq!(denials, [not_granted("network.inbound", named)], "{command}");
            }
        }
        // An outgoing socket's address cannot be listened on.
        let observed = stage.observe(&thief, "hold-listener 0.0.0.0:0");
        assert!(observed.text().starts_with("error: "), "{}", observed.text());
        assert_eq!(observed.denials().len(), 1);
        stage.engine.unload(thief.handle).unwrap();
    }
}

#[test]
fn a_listener_listens_only_where_it_was_granted() {
    let stage = Stage::new();
    let port = { TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port() };
    let granted = format!("127.0.0.1:{port}");
    let rights = json!({"network": {"inbound": [granted]}});
    let thief = stage.load("app/thief/0", "wasi", rights);
    for address in [
        format!("0.0.0.0:{port}"),
        format!("[::]:{port}"),
        format!("127.0.0.2:{port}"),
        "127.0.0.1:0".into(),
        "127.0.0.1:18081".into(),
    ] {
        for command in ["hold-listener", "udp-bind"] {
            let observed = stage.observe(&thief, &format!("{command} {address}"));
            assert!(observed.text().starts_with("error: "), "{address}: {}", observed.text());
            let named = address.trim_end_matches(":0");
            assert_eq!(observed.denials(), [not_granted("network.inbound", named)], "{command}");
        }
    }
    // Outgoing connections bind to any port of any address. Nothing comes in there.
    let observed = stage.observe(&thief, "hold-listener 0.0.0.0:0");
    assert!(observed.text().starts_with("error: "), "{}", observed.text());
    let denials = observed.denials();
    assert!(denials[0].resource.starts_with("0.0.0.0:") && denials.len() == 1, "{denials:?}");
    // The right to listen does not include connecting.
    let server = Server::new();
    let address = server.address().to_string();
    let observed = stage.observe(&thief, &format!("connect {address}"));
    assert!(observed.text().starts_with("error: "), "{}", observed.text());
    assert_eq!(observed.denials().len(), 1, "{:?}", observed.denials());
    server.assert_unreached("inbound");
    stage.works(&thief, &format!("hold-listener {granted}"), &granted, "network.inbound");
    let client = std::thread::spawn(move || {
        let mut stream = std::net::TcpStream::connect(granted).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut heard = String::new();
        stream.read_to_string(&mut heard).unwrap();
        heard
    });
    stage.engine.text(thief.handle, "accept hello");
    assert_eq!(client.join().unwrap(), "hello");
}

#[test]
fn datagrams_of_strangers_do_not_arrive_at_a_sender() {
    let stage = Stage::new();
    let [friend, unasked, stranger] = [(); 3].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
    let address = |socket: &UdpSocket| socket.local_addr().unwrap().to_string();
    let thief = outbound(&stage, json!([address(&friend), address(&unasked)]));
    let bound = stage.engine.text(thief.handle, "udp-bind 0.0.0.0:0");
    let port = bound.parse::<SocketAddr>().unwrap().port();
    stranger.send_to(b"stranger", ("127.0.0.1", port)).unwrap();
    // A peer that may be sent to cannot start either: accepting its datagram would be listening.
    unasked.send_to(b"unasked", ("127.0.0.1", port)).unwrap();
    let ask = format!("udp-use {} question", address(&friend));
    stage.works(&thief, &ask, "8", "network.outbound");
    friend.send_to(b"answer", ("127.0.0.1", port)).unwrap();
    let received = stage.observe(&thief, "udp-receive").text();
    assert!(received.ends_with(" answer"), "{received}");
}

#[test]
fn a_listener_accepts_nothing_after_a_revocation() {
    let stage = Stage::new();
    let port = { TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port() };
    let rights = json!({"network": {"inbound": [format!("127.0.0.1:{port}")]}});
    let options = json!({"capabilities": rights, "limits": {"max-execution-time-ms": 300}});
    for (hold, wait) in [("hold-listener", "accept secret"), ("udp-bind", "udp-receive")] {
        let thief = stage.load_with("app/thief/0", "wasi", &options);
        let address = format!("127.0.0.1:{port}");
        stage.works(&thief, &format!("{hold} {address}"), &address, "network.inbound");
        stage.engine.revoke(thief.handle, Some(&rights.to_string())).unwrap();
        if hold == "udp-bind" {
            let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
            stranger.send_to(b"x", &address).unwrap();
            let failure = stage.engine.failure(thief.handle, wait);
            assert_eq!(failure.status, AIRSSYS_ERROR_TIMEOUT, "{failure}");
        } else {
            let mut client = std::net::TcpStream::connect(&address).unwrap();
            let failure = stage.engine.failure(thief.handle, wait);
            assert_eq!(failure.status, AIRSSYS_ERROR_TIMEOUT, "{failure}");
            let mut heard = String::new();
            let _ = client.read_to_string(&mut heard);
            assert_eq!(heard, "");
        }
        stage.engine.unload(thief.handle).unwrap();
    }
}

#[test]
fn a_grant_to_listen_lets_no_datagrams_in_on_other_ports() {
    let stage = Stage::new();
    let friend = UdpSocket::bind("127.0.0.1:0").unwrap();
    let rights = json!({"network": {"outbound": [friend.local_addr().unwrap().to_string()],
                                    "inbound": ["127.0.0.1:18082"]}});
    let thief = stage.load("app/thief/0", "wasi", rights);
    let bound = stage.engine.text(thief.handle, "udp-bind 0.0.0.0:0");
    let port = bound.parse::<SocketAddr>().unwrap().port();
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    stranger.send_to(b"stranger", ("127.0.0.1", port)).unwrap();
    let ask = format!("udp-use {} question", friend.local_addr().unwrap());
    stage.works(&thief, &ask, "8", "network.outbound");
    friend.send_to(b"friend", ("127.0.0.1", port)).unwrap();
    let received = stage.observe(&thief, "udp-receive").text();
    assert!(received.ends_with(" friend"), "on a port that was not granted: {received}");
}
