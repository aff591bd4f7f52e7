//! Hosts, ports and addresses beyond the grants.

use std::io::Read;
use std::net::{SocketAddr, TcpListener, UdpSocket};

use serde_json::json;

use crate::harness::server::{Server, outbound};
use crate::harness::stage::{Guest, Stage, never, not_granted, policy};

const PRIVATE: &str = "the name leads to an address that is not public";

/// Expects a failure and exactly one denial, of `address`.
#[track_caller]
fn unreachable(stage: &Stage, thief: &Guest, command: &str, address: &str) {
    let observed = stage.observe(thief, command);
    assert!(observed.text().contains("error: "), "{command}: {}", observed.text());
    assert_eq!(observed.denials(), [not_granted("network.outbound", address)], "{command}");
}

#[test]
fn nothing_is_reached_without_a_grant() {
    let (stage, server) = (Stage::new(), Server::new());
    let thief = stage.load("app/thief/0", "wasi", json!({}));
    let address = server.address().to_string();
    for command in ["connect", "tcp-send", "udp-send", "udp-connect"] {
        let observed = stage.observe(&thief, &format!("{command} {address} x"));
        assert!(observed.text().starts_with("error: "), "{command}: {}", observed.text());
        let denials = observed.denials();
        assert_eq!(denials.len(), 1, "{command}: {denials:?}");
        assert!(denials[0].action.starts_with("network.") && denials[0].by == "not-granted");
    }
    for name in ["localhost", "example.com", "127.1", "0x7f.1"] {
        let observed = stage.observe(&thief, &format!("resolve {name}"));
        assert!(observed.text().starts_with("error: "), "{name}: {}", observed.text());
        let denials = observed.denials();
        assert_eq!(denials.len(), 1, "{name}: {denials:?}");
        assert_eq!((&*denials[0].action, &*denials[0].by), ("network.outbound", "not-granted"));
    }
    server.assert_unreached("no grant");
}

#[test]
fn any_host_does_not_include_private_addresses() {
    let (stage, server) = (Stage::new(), Server::new());
    let port = server.port();
    let thief = outbound(&stage, json!(["*"]));
    for host in [
        "127.0.0.1",
        "127.255.255.254",
        "0.0.0.0",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "198.18.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "[::1]",
        "[::]",
        "[fe80::1]",
        "[fc00::1]",
        "[::7f00:1]",
        "[64:ff9b::7f00:1]",
        "[64:ff9b::a9fe:a9fe]",
        "[2002:7f00:1::]",
        "[ff02::1]",
    ] {
        let observed = stage.observe(&thief, &format!("connect {host}:{port}"));
        assert!(observed.text().starts_with("error: "), "{host}: {}", observed.text());
        let address: SocketAddr = format!("{host}:{port}").parse().unwrap();
        let denials = observed.denials();
        // WASI itself refuses addresses that cannot be connected to.
        let impossible = address.ip().is_unspecified()
            || address.ip().is_multicast()
            || host == "[::7f00:1]"
            || host == "255.255.255.255";
        if !(impossible && denials.is_empty()) {
            assert_eq!(denials, [not_granted("network.outbound", &address.to_string())], "{host}");
        }
        server.assert_unreached(host);
    }
}

#[test]
fn an_ipv4_address_in_ipv6_is_treated_as_the_ipv4_address() {
    let (stage, server) = (Stage::new(), Server::new());
    let port = server.port();
    for grants in [json!(["*"]), json!(["::/0"]), json!(["[::1]", "2000::/3"])] {
        let thief = outbound(&stage, grants);
        for host in ["[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]"] {
            for command in ["connect", "udp-send", "udp-connect"] {
                let observed = stage.observe(&thief, &format!("{command} {host}:{port} x"));
                assert!(observed.text().starts_with("error: "), "{host}: {}", observed.text());
                server.assert_unreached(host);
            }
        }
        stage.engine.unload(thief.handle).unwrap();
    }
}

#[test]
fn other_notations_of_an_address_are_treated_as_the_address() {
    let (stage, server) = (Stage::new(), Server::new());
    let thief = outbound(&stage, json!(["*", "localhost"]));
    for name in [
        "127.1",
        "127.0.1",
        "2130706433",
        "0x7f000001",
        "0x7f.0.0.1",
        "0177.0.0.1",
        "017700000001",
        "127.0.0.1.",
        "\u{ff11}\u{ff12}\u{ff17}.0.0.1",
        "\u{2460}\u{2461}\u{2466}.0.0.1",
        "127\u{3002}0\u{3002}0\u{3002}1",
        "%31%32%37.0.0.1",
    ] {
        let observed = stage.observe(&thief, &format!("connect {name}:{}", server.port()));
        assert!(observed.text().starts_with("error: "), "{name}: {}", observed.text());
        let denials = observed.denials();
        assert_eq!(denials, [not_granted("network.outbound", "127.0.0.1")], "{name}");
        server.assert_unreached(name);
    }
    for name in ["localhost\0.example.com", "localhost/", "user@localhost", "", "[::1"] {
        let text = stage.observe(&thief, &format!("lookups 1 {name}")).text();
        assert!(text.contains("error: ") || text.starts_with("no reply"), "{name:?}: {text}");
        server.assert_unreached(name);
    }
}

#[test]
fn a_name_with_a_private_address_is_not_followed() {
    let (stage, server) = (Stage::new(), Server::new());
    let (address, port) = (server.address(), server.port());
    for (grant, name) in [
        ("localhost", "localhost"),
        ("localhost", "LOCALHOST"),
        ("*", "localhost"),
        ("**", "localhost"),
    ] {
        let thief = outbound(&stage, json!([grant]));
        for command in [format!("connect {name}:{port}"), format!("resolve {name}")] {
            let observed = stage.observe(&thief, &command);
            // Resolving leaves out addresses that are not granted.
            let text = observed.text();
            assert!(text.is_empty() || text.starts_with("error: "), "{command}: {text}");
            let denials = observed.denials();
            assert!(
                denials.contains(&never("network.outbound", "localhost (127.0.0.1)", PRIVATE)),
                "{grant} {command}: {text} {denials:?}"
            );
            assert!(
                denials.iter().all(|denial| denial.by == "never"),
                "{grant} {command}: {text} {denials:?}"
            );
        }
        let observed = stage.observe(&thief, &format!("resolve-then-connect {name} {address}"));
        let denial = not_granted("network.outbound", &address.to_string());
        assert!(observed.denials().contains(&denial), "{:?}", observed.denials());
        server.assert_unreached(name);
        // The system may not know the name with a dot at its end.
        let text = stage.observe(&thief, &format!("connect {name}.:{port}")).text();
        assert!(text.starts_with("error: "), "{text}");
        server.assert_unreached("a dot");
        stage.engine.unload(thief.handle).unwrap();
    }
}

#[test]
fn a_granted_private_name_permits_only_its_own_addresses() {
    let (stage, server) = (Stage::new(), Server::new());
    let (address, port) = (server.address(), server.port());
    let grant = |pattern: &str| json!({"network": [{"action": "outbound", "host-pattern": pattern, "private": true}]});
    let thief = stage.load("app/thief/0", "wasi", grant("localhost"));
    // This instance must first find the address by resolving the name.
    unreachable(&stage, &thief, &format!("connect {address}"), &address.to_string());
    stage.works(&thief, &format!("connect localhost:{port}"), "ok", "network.outbound");
    server.assert_reached();
    stage.works(&thief, &format!("connect {address}"), "ok", "network.outbound");
    server.assert_reached();
    for other in ["127.0.0.2", "10.0.0.1", "169.254.169.254", "93.184.216.34"] {
        let other = format!("{other}:{port}");
        unreachable(&stage, &thief, &format!("resolve-then-connect localhost {other}"), &other);
    }
    // Another instance has to resolve the name again.
    stage.engine.call(thief.handle, "exit 0").unwrap_err();
    unreachable(&stage, &thief, &format!("connect {address}"), &address.to_string());
    for other in ["localhost.example.com", "xlocalhost", "localhostx"] {
        let denial = not_granted("network.outbound", other);
        let observed = stage.observe(&thief, &format!("resolve {other}"));
        assert_eq!(observed.denials(), [denial], "{other}");
    }
    server.assert_unreached("other names");
}

#[test]
fn a_grant_covers_only_its_port() {
    let (stage, server, other) = (Stage::new(), Server::new(), Server::new());
    let (granted, other_address) = (server.address().to_string(), other.address().to_string());
    let thief = outbound(&stage, json!([granted]));
    stage.works(&thief, &format!("connect {granted}"), "ok", "network.outbound");
    server.assert_reached();
    unreachable(&stage, &thief, &format!("connect {other_address}"), &other_address);
    for host in ["127.0.0.2", "[::1]"] {
        let address = format!("{host}:{}", server.port());
        unreachable(&stage, &thief, &format!("connect {address}"), &address);
    }
    // Also by name.
    let by_name = json!({"network": [{"action": "outbound", "host-pattern": "localhost",
                                      "port": server.port(), "private": true}]});
    let thief = stage.load("app/named/0", "wasi", by_name);
    let command = format!("connect localhost:{}", server.port());
    stage.works(&thief, &command, "ok", "network.outbound");
    server.assert_reached();
    let command = format!("resolve-then-connect localhost {other_address}");
    unreachable(&stage, &thief, &command, &other_address);
    other.assert_unreached("another port");
}

#[test]
fn a_policy_on_addresses_applies_to_every_name() {
    let server = Server::new();
    let rule = json!({"effect": "deny", "component": "app/**", "action": "network.outbound",
                      "resource": "127.0.0.0/8", "reason": "not here"});
    let stage = Stage::with_policies(json!([rule]));
    let address = server.address().to_string();
    let rights = json!({"network": [
        {"action": "outbound", "host-pattern": "localhost", "private": true},
        {"action": "outbound", "host-pattern": "127.0.0.1"},
    ]});
    let thief = stage.load("app/thief/0", "wasi", rights);
    let observed = stage.observe(&thief, &format!("connect {address}"));
    assert_eq!(observed.denials(), [policy("network.outbound", &address, 0, "not here")]);
    let observed = stage.observe(&thief, &format!("connect localhost:{}", server.port()));
    assert!(observed.text().starts_with("error: "), "{}", observed.text());
    assert!(!observed.denials().is_empty());
    server.assert_unreached("a policy");
}

#[test]
fn datagrams_go_only_to_granted_addresses() {
    let stage = Stage::new();
    let [granted, other] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
    let [to, elsewhere] = [&granted, &other].map(|socket| socket.local_addr().unwrap().to_string());
    let thief = outbound(&stage, json!([to]));
    for command in [
        format!("udp-send {elsewhere} x"),
        format!("udp-connect {elsewhere} x"),
        format!("udp-mixed x {elsewhere}"),
        format!("udp-mixed x {elsewhere} {to}"),
    ] {
        unreachable(&stage, &thief, &command, &elsewhere);
    }
    // One denied address among several: the datagrams before it are sent.
    let observed = stage.observe(&thief, &format!("udp-mixed x {to} {elsewhere} {to}"));
    assert!(observed.denials().iter().all(|d| *d == not_granted("network.outbound", &elsewhere)));
    stage.works(&thief, &format!("udp-send {to} x"), "1", "network.outbound");
    granted.recv(&mut [0; 8]).unwrap();
    other.set_nonblocking(true).unwrap();
    assert!(other.recv(&mut [0; 8]).is_err(), "a datagram came");
}

#[test]
fn a_revoked_grant_permits_no_new_connections() {
    let (stage, server) = (Stage::new(), Server::new());
    let address = server.address().to_string();
    let rights = json!({"network": {"outbound": [address]}});
    let thief = stage.load("app/thief/0", "wasi", rights.clone());
    stage.works(&thief, &format!("connect {address}"), "ok", "network.outbound");
    server.assert_reached();
    stage.engine.revoke(thief.handle, Some(&rights.to_string())).unwrap();
    let observed = stage.observe(&thief, &format!("connect {address}"));
    assert!(observed.text().starts_with("error: "), "{}", observed.text());
    assert_eq!(observed.denials().len(), 1);
    server.assert_unreached("revoked");
}

#[test]
fn a_connection_ends_with_its_right() {
    let (stage, server) = (Stage::new(), TcpListener::bind("127.0.0.1:0").unwrap());
    let address = server.local_addr().unwrap();
    let by_address = json!({"network": {"outbound": [address.to_string()]}});
    let by_name = json!({"network": [{"action": "outbound", "host-pattern": "localhost",
                                      "private": true}]});
    let echo = std::thread::spawn(move || {
        // Two connections. Only the first data of each is answered.
        for _ in 0..2 {
            let (mut stream, _) = server.accept().unwrap();
            let mut heard = [0; 64];
            let size = stream.read(&mut heard).unwrap();
            std::io::Write::write_all(&mut stream, &heard[..size]).unwrap();
            let mut rest = String::new();
            let _ = stream.read_to_string(&mut rest);
            assert_eq!(rest, "", "after the right was revoked");
        }
    });
    for (rights, to) in
        [(by_address, address.to_string()), (by_name, format!("localhost:{}", address.port()))]
    {
        let thief = stage.load("app/thief/0", "wasi", rights.clone());
        stage.works(&thief, &format!("hold-connection {to}"), "ok", "network.outbound");
        assert_eq!(stage.engine.text(thief.handle, "use-connection hello"), "hello");
        stage.engine.revoke(thief.handle, Some(&rights.to_string())).unwrap();
        let observed = stage.observe(&thief, "use-connection secret");
        assert!(observed.text().starts_with("error: "), "{}", observed.text());
        let denial = not_granted("network.outbound", &address.to_string());
        assert!(observed.denials().contains(&denial), "{:?}", observed.denials());
        stage.engine.unload(thief.handle).unwrap();
    }
    echo.join().unwrap();
}

#[test]
fn a_later_policy_applies_to_open_connections() {
    let (stage, server) = (Stage::new(), TcpListener::bind("127.0.0.1:0").unwrap());
    let address = server.local_addr().unwrap().to_string();
    let thief = outbound(&stage, json!([address]));
    stage.works(&thief, &format!("hold-connection {address}"), "ok", "network.outbound");
    let (mut stream, _) = server.accept().unwrap();
    std::io::Write::write_all(&mut stream, b"an answer").unwrap();
    let rule = json!({"effect": "deny", "action": "network.*", "resource": "127.0.0.0/8",
                      "reason": "closed"});
    stage.engine.set_policies(&json!({"rules": [rule]}).to_string()).unwrap();
    let denial = policy("network.outbound", &address, 0, "closed");
    let observed = stage.observe(&thief, "use-connection x");
    assert!(observed.text().starts_with("error: "), "{}", observed.text());
    assert!(observed.denials().contains(&denial), "{:?}", observed.denials());
    // An open connection works again without the rule.
    stage.engine.set_policies("{}").unwrap();
    assert_eq!(stage.engine.text(thief.handle, "use-connection x"), "an answer");
}

#[test]
fn an_address_denied_by_a_policy_is_recorded_with_the_policy() {
    let rule = json!({"effect": "deny", "action": "network.outbound", "resource": "127.0.0.0/8",
                      "reason": "not here"});
    let stage = Stage::with_policies(json!([rule]));
    let rights = json!({"network": [{"action": "outbound", "host-pattern": "localhost",
                                     "private": true}]});
    let thief = stage.load("app/thief/0", "wasi", rights);
    let observed = stage.observe(&thief, "resolve localhost");
    let denial = policy("network.outbound", "localhost (127.0.0.1)", 0, "not here");
    assert!(observed.denials().contains(&denial), "{:?}", observed.denials());
}
