//! Audit records that a host can turn into grants: each names what the component asked for.

use std::fs;
use std::net::{TcpListener, UdpSocket};

use airssys_wasm::*;
use serde_json::{Value, json};

use crate::harness::stage::{Guest, Stage, hex, never, not_granted};
use crate::harness::tree::{ALL, ROOT_ONLY, Tree};

const NOT_THERE: &str = "error: No such file or directory (os error 44)";
const NO_LINKS: &str = "components cannot create links";

fn without_rights(stage: &Stage) -> Guest {
    stage.load("app/plain/0", "wasi", json!({}))
}

#[test]
fn a_lookup_without_a_grant_is_recorded_with_its_path() {
    let stage = Stage::new();
    let guest = without_rights(&stage);
    for (command, action, path) in [
        ("read /etc/passwd", "read", "/etc/passwd"),
        ("read data/in.txt", "read", "/data/in.txt"),
        ("read /srv/./in/../out/a", "read", "/srv/out/a"),
        ("stat /etc", "read", "/etc"),
        ("read-link /etc/localtime", "read", "/etc/localtime"),
        ("list-dir /srv", "list-dir", "/srv"),
        ("write /srv/out x", "write", "/srv/out"),
        ("append /srv/out x", "write", "/srv/out"),
        ("create-new /srv/out x", "write", "/srv/out"),
        ("mkdir /srv/new", "write", "/srv/new"),
        ("set-times /srv/a", "read", "/srv/a"),
        ("delete /srv/a", "delete", "/srv/a"),
        ("rmdir /srv/a", "delete", "/srv/a"),
        ("rename /srv/a /srv/b", "read", "/srv/a"),
    ] {
        let denial = not_granted(&format!("filesystem.{action}"), path);
        stage.denied(&guest, command, NOT_THERE, denial);
    }
    let link = never("filesystem.write", "/srv/link", NO_LINKS);
    let observed = stage.observe(&guest, "symlink /etc/passwd /srv/link");
    assert_eq!(observed.denials(), [link], "{}", observed.text());
}

#[test]
fn the_root_is_empty_and_no_directory_of_the_host() {
    let stage = Stage::new();
    let descriptors = || fs::read_dir("/proc/self/fd").unwrap().count();
    let guest = without_rights(&stage);
    let before = descriptors();
    stage.rejected(&guest, "preopens", ROOT_ONLY);
    assert_eq!(descriptors(), before, "a descriptor of the host");
    stage.rejected(&guest, "raw-stat root", "DescriptorType::Directory 0 DescriptorFlags(READ)");
    stage.rejected(&guest, "raw-hash root", "a hash");
    let (dot, etc, passwd) = (hex("."), hex("etc"), hex("../../etc/passwd"));
    for (command, action, path) in [
        ("raw-list root".to_owned(), "list-dir", "/"),
        (format!("raw-open root {dot} directory,read"), "list-dir", "/"),
        (format!("raw-open root {etc} follow,directory,read"), "list-dir", "/etc"),
        (format!("raw-open root {passwd} follow,read"), "read", "/etc/passwd"),
        (format!("raw-open root {passwd} create,write"), "write", "/etc/passwd"),
        (format!("raw-stat-at root {passwd}"), "read", "/etc/passwd"),
        (format!("raw-hash-at root {passwd}"), "read", "/etc/passwd"),
        (format!("raw-times-at root {passwd}"), "write", "/etc/passwd"),
        (format!("raw-read-link root {passwd}"), "read", "/etc/passwd"),
        (format!("raw-delete root {passwd}"), "delete", "/etc/passwd"),
        (format!("raw-mkdir root {etc}"), "write", "/etc"),
        (format!("raw-rmdir root {etc}"), "delete", "/etc"),
        (format!("raw-rename root {etc} root {dot}"), "read", "/etc"),
        ("raw-read root".into(), "read", "/"),
        ("raw-write root x".into(), "write", "/"),
        ("raw-resize root 0".into(), "write", "/"),
        ("raw-times root".into(), "write", "/"),
        ("raw-sync root".into(), "write", "/"),
        ("raw-advise root".into(), "read", "/"),
        ("pull root 1".into(), "read", "/"),
        ("zeroes root 1".into(), "write", "/"),
    ] {
        let denial = not_granted(&format!("filesystem.{action}"), path);
        stage.denied(&guest, &command, "error: no-entry", denial);
    }
    assert_eq!(stage.engine.text(guest.handle, "echo again"), "again");
}

#[test]
fn granted_directories_take_precedence_over_the_root() {
    let (stage, tree) = (Stage::new(), Tree::new());
    let granted = tree.at("granted");
    let at = |path: &str| json!({"filesystem": {&granted: {"actions": ALL, "guest-path": path}}});
    let guest = stage.load("app/in/0", "wasi", at("/in"));
    stage.works(&guest, "read /in/own", "mine", "filesystem.read");
    stage.denied(&guest, "read /inn", NOT_THERE, not_granted("filesystem.read", "/inn"));
    stage.denied(&guest, "read /own", NOT_THERE, not_granted("filesystem.read", "/own"));
    // This file is granted, but under another path.
    let own = tree.at("granted/own");
    let elsewhere = "granted, but this instance does not see it at this path";
    let denial = never("filesystem.read", &own, elsewhere);
    stage.denied(&guest, &format!("read {own}"), NOT_THERE, denial);
    // A directory granted as the guest's root replaces the empty root.
    for (id, path) in [("app/root/0", "/"), ("app/dot/0", "."), ("app/dots/0", "./")] {
        let guest = stage.load(id, "wasi", at(path));
        let preopens = stage.observe(&guest, "preopens").text();
        assert_eq!(preopens.lines().count(), 1, "{path}: {preopens}");
        stage.works(&guest, "read own", "mine", "filesystem.read");
        stage.works(&guest, "read /own", "mine", "filesystem.read");
    }
}

/// A record as load options.
fn grant(action: &str, resource: &str) -> Value {
    match action.split_once('.') {
        Some(("filesystem", verb)) => json!({"filesystem": {resource: [verb]}}),
        Some(("network", verb)) => json!({"network": {verb: [resource]}}),
        _ => panic!("{action} {resource}"),
    }
}

#[test]
fn a_grant_made_from_a_record_is_sufficient() {
    let (stage, tree) = (Stage::new(), Tree::new());
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
    let free = { TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap() };
    let (to, datagrams) = (server.local_addr().unwrap(), datagrams.local_addr().unwrap());
    let guest = without_rights(&stage);
    for (command, reply) in [
        (format!("read {}", tree.at("granted/own")), "mine".to_owned()),
        (format!("write {} new", tree.at("granted/a.csv")), "ok".into()),
        (format!("list-dir {}", tree.at("outside")), "secret".into()),
        (format!("delete {}", tree.at("granted/sub/deep")), "ok".into()),
        (format!("connect {to}"), "ok".into()),
        (format!("udp-send {datagrams} x"), "1".into()),
        (format!("udp-connect {datagrams} x"), "1".into()),
        (format!("udp-mixed x {datagrams} {datagrams}"), "2".into()),
        (format!("hold-listener {free}"), free.to_string()),
        (format!("udp-bind {free}"), free.to_string()),
        ("listen 127.0.0.1:0".into(), "ok".into()),
        ("listen [::1]:0".into(), "ok".into()),
    ] {
        let observed = stage.observe(&guest, &command);
        assert!(observed.text().starts_with("error: "), "{command}: {}", observed.text());
        let denials = observed.denials();
        let [denial] = &denials[..] else { panic!("{command}: {denials:?}") };
        let rights = grant(&denial.action, &denial.resource);
        let granted = stage.load("app/granted/0", "wasi", rights);
        stage.works(&granted, &command, &reply, &denial.action);
        stage.engine.unload(granted.handle).unwrap();
    }
}

#[test]
fn sockets_without_a_right_use_no_socket_of_the_host() {
    let stage = Stage::new();
    let guest = without_rights(&stage);
    stage.rejected(&guest, "echo first", "first");
    let descriptors = || fs::read_dir("/proc/self/fd").unwrap().count();
    let before = descriptors();
    stage.rejected(&guest, "sockets tcp 50", "50");
    stage.rejected(&guest, "sockets udp 50", "50");
    assert_eq!(descriptors(), before);
    for address in ["127.0.0.1:1", "10.0.0.1:5432", "[::1]:1", "[2001:db8::1]:443"] {
        for command in ["connect", "udp-connect", "udp-send"] {
            let command = format!("{command} {address} x");
            let observed = stage.observe(&guest, &command);
            assert!(observed.text().starts_with("error: "), "{command}: {}", observed.text());
            let denial = not_granted("network.outbound", address);
            assert_eq!(observed.denials(), [denial], "{command}");
        }
    }
    // These addresses cannot be the end of a connection.
    for address in ["0.0.0.0:80", "127.0.0.1:0", "[::ffff:127.0.0.1]:80"] {
        let observed = stage.observe(&guest, &format!("connect {address}"));
        assert!(observed.text().starts_with("error: "), "{address}: {}", observed.text());
    }
    assert_eq!(descriptors(), before);
}

#[test]
fn a_later_grant_applies_to_the_next_socket() {
    let stage = Stage::new();
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap().to_string();
    let guest = without_rights(&stage);
    let denial = not_granted("network.outbound", &address);
    let observed = stage.observe(&guest, &format!("connect {address}"));
    assert_eq!(observed.denials(), [denial]);
    let rights = json!({"network": {"outbound": [address]}});
    stage.engine.grant(guest.handle, &rights.to_string()).unwrap();
    stage.works(&guest, &format!("connect {address}"), "ok", "network.outbound");
}

#[test]
fn system_directories_cannot_be_granted() {
    let stage = Stage::new();
    for path in ["/proc", "/proc/kmsg", "/proc/self/**", "/sys", "/sys/*"] {
        let rights = json!({"capabilities": {"filesystem": {path: ["read"]}}});
        let binary = airssys_wasm_guests::bytes("wasi");
        let failure = stage.engine.try_load("app/system/0", &binary, Some(&rights.to_string()));
        let failure = failure.expect_err(path);
        assert_eq!(failure.status, AIRSSYS_ERROR_INVALID_OPTIONS, "{path}: {failure}");
        assert!(failure.message.contains("interfaces of the system"), "{path}: {failure}");
    }
}

#[test]
fn system_files_are_not_read_through_a_parent_directory() {
    let stage = Stage::new();
    let rights = json!({"filesystem": {"/": ["read", "list-dir"]}});
    let thief = stage.load("app/thief/0", "wasi", rights);
    for (command, action, path) in [
        ("read /proc/version", "read", "/proc/version"),
        ("read /proc/self/environ", "read", "/proc/self/environ"),
        ("list-dir /proc", "list-dir", "/proc"),
        ("list-dir /sys", "list-dir", "/sys"),
        ("read /sys/kernel/uevent_seqnum", "read", "/sys/kernel/uevent_seqnum"),
    ] {
        let observed = stage.observe(&thief, command);
        let denied = "error: Operation not permitted (os error 63)";
        assert_eq!(observed.text(), denied, "{command}");
        let denial = never(&format!("filesystem.{action}"), path, "a file of a pseudo file system");
        assert_eq!(observed.denials(), [denial], "{command}");
    }
}
