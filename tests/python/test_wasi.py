"""Rights of WASI components: files, network, and what every component has."""

import contextlib
import os
import socket
import time
import unittest

from support import PATIENCE, EngineTest, guest

from airssys_wasm import InvalidOptions, ResourceLimitExceeded, Trap

WASI = "test/wasi/0"

REFUSED = b"error: Operation not permitted (os error 63)"
NOT_THERE = b"error: No such file or directory (os error 44)"
NO_CONNECTION = b"error: Permission denied (os error 2)"


class WasiTest(EngineTest):
    def setUp(self):
        self.records = []
        self.the_engine = self.bare_engine(audit=self.records.append)

    def wasi(self, capabilities=None, **options):
        return self.the_engine.load(
            WASI, guest("wasi"), capabilities=capabilities or {}, **options
        )

    def recorded(self):
        """All denials. Closes the engine."""
        self.the_engine.close()
        return [(record.action, record.resource, record.by) for record in self.records]


class Files(WasiTest):
    def setUp(self):
        super().setUp()
        self.root = self.directory()
        self.inside = self.root / "in"
        self.inside.mkdir()
        (self.inside / "a.txt").write_text("content")
        (self.root / "secret").write_text("secret")

    def files(self, actions, path=None, **more):
        rights = {"filesystem": {path or self.inside: actions}, **more}
        return self.wasi(rights)

    def test_none_without_grants(self):
        wasi = self.wasi()
        self.assertEqual(wasi.call("preopens"), b"0 / DescriptorFlags(READ)")
        for path in (self.inside / "a.txt", "/etc/passwd", "/", ".", "a.txt"):
            self.assertEqual(wasi.call(f"read {path}"), NOT_THERE)
        paths = (f"{self.inside}/a.txt", "/etc/passwd", "/", "/", "/a.txt")
        denied = [("filesystem.read", path, "not-granted") for path in paths]
        self.assertEqual(self.recorded(), denied)

    def test_each_action_for_itself(self):
        file, new, old = (self.inside / name for name in ("a.txt", "new", "old"))
        commands = {
            "read": f"read {file}",
            "write": f"write {new} text",
            "delete": f"delete {old}",
            "list-dir": f"list-dir {self.inside}",
        }
        for granted in commands:
            old.write_text("old")
            with self.files([granted]) as wasi:
                for action, command in commands.items():
                    with self.subTest(granted=granted, action=action):
                        refused = wasi.call(command).startswith(b"error")
                        self.assertEqual(refused, action != granted)
            self.assertEqual(new.exists(), granted == "write")
            self.assertEqual(old.exists(), granted != "delete")
            with contextlib.suppress(FileNotFoundError):
                new.unlink()

    def test_content(self):
        wasi = self.files(["read", "write", "list-dir"])
        self.assertEqual(wasi.call(f"read {self.inside}/a.txt"), b"content")
        self.assertEqual(wasi.call(f"write {self.inside}/b.txt new text"), b"ok")
        self.assertEqual((self.inside / "b.txt").read_text(), "new text")
        self.assertEqual(wasi.call(f"list-dir {self.inside}"), b"a.txt\nb.txt")

    def test_guest_path(self):
        wasi = self.files({"actions": ["read"], "guest_path": "/data"})
        self.assertEqual(wasi.call("read /data/a.txt"), b"content")
        self.assertEqual(wasi.call(f"read {self.inside}/a.txt"), NOT_THERE)

    def test_one_place_for_two_directories(self):
        there = {"actions": ["read"], "guest_path": "/data"}
        with self.assertRaises(InvalidOptions) as caught:
            self.wasi({"filesystem": {self.inside: there, self.root: there}})
        self.assertIn('can not both appear at "/data"', caught.exception.message)

    def test_patterns(self):
        (self.inside / "b.csv").write_text("1,2")
        wasi = self.files(["read"], f"{self.inside}/*.csv")
        self.assertEqual(wasi.call(f"read {self.inside}/b.csv"), b"1,2")
        self.assertEqual(wasi.call(f"read {self.inside}/a.txt"), REFUSED)

    def test_no_way_out(self):
        (self.inside / "link").symlink_to(self.root / "secret")
        (self.inside / "up").symlink_to("..")
        wasi = self.files(["read", "write", "delete", "list-dir"])
        for path in ("../secret", "link", "up/secret", "./../secret", "x/../../secret"):
            reply = wasi.call(f"read {self.inside}/{path}")
            self.assertTrue(reply.startswith(b"error"), (path, reply))
        for command in (
            f"symlink {self.root}/secret {self.inside}/mine",
            f"hard-link {self.inside}/a.txt {self.inside}/mine",
        ):
            self.assertTrue(wasi.call(command).startswith(b"error"))
        self.assertFalse(os.path.lexists(self.inside / "mine"))
        self.assertEqual((self.root / "secret").read_text(), "secret")

    def test_a_directory_that_replaces_a_granted_one_is_not_reached(self):
        wasi = self.files(["read"])
        self.assertEqual(wasi.call(f"read {self.inside}/a.txt"), b"content")
        self.inside.rename(self.root / "moved")
        self.inside.symlink_to(self.root)
        self.assertEqual(wasi.call(f"read {self.inside}/a.txt"), b"content")
        self.assertEqual(wasi.call(f"read {self.inside}/secret"), NOT_THERE)

    def test_revoke(self):
        wasi = self.files(["read"])
        self.assertEqual(wasi.call(f"hold {self.inside}/a.txt"), b"ok")
        self.assertEqual(wasi.call("read-held"), b"content")
        wasi.revoke({"filesystem": {self.inside: ["read"]}})
        # Also open files.
        self.assertTrue(wasi.call("read-held").startswith(b"error"))
        self.assertEqual(wasi.call(f"read {self.inside}/a.txt"), REFUSED)
        wasi.grant({"filesystem": {self.inside: ["read"]}})
        self.assertEqual(wasi.call("read-held"), b"content")

    def test_expiry(self):
        wasi = self.files(["read"])
        until = time.time() + 0.3
        wasi.grant({"filesystem": {self.inside: ["read"]}, "expires_at_ms": round(until * 1000)})
        self.eventually(lambda: wasi.call(f"read {self.inside}/a.txt") == REFUSED)
        self.assertGreater(time.time(), until - 0.1)

    def test_policies(self):
        wasi = self.files(["read"], self.root)
        self.assertEqual(wasi.call(f"read {self.root}/secret"), b"secret")
        self.the_engine.set_policies(
            [{"effect": "deny", "action": "filesystem.*", "resource": f"{self.root}/secret"}]
        )
        self.assertEqual(wasi.call(f"read {self.root}/secret"), REFUSED)
        self.assertEqual(wasi.call(f"read {self.inside}/a.txt"), b"content")
        # Through every path.
        (self.inside / "link").symlink_to("../secret")
        self.assertEqual(wasi.call(f"read {self.inside}/link"), REFUSED)

    def test_records(self):
        wasi = self.files(["read"])
        wasi.call(f"write {self.inside}/new text")
        wasi.call(f"read {self.inside}/../secret")
        self.assertFalse((self.inside / "new").exists())
        recorded = self.recorded()
        self.assertIn(("filesystem.write", f"{self.inside}/new", "not-granted"), recorded)
        # The guest's standard library passes `..` on; the host refuses it.
        self.assertIn("never", [by for _, _, by in recorded])

    def test_explain(self):
        wasi = self.files(["read"])
        for path, allowed in (
            (f"{self.inside}/a.txt", True),
            (f"{self.inside}/missing", True),
            (f"{self.root}/secret", False),
            (f"{self.inside}2/x", False),
        ):
            self.assertEqual(wasi.explain("filesystem.read", path).allowed, allowed, path)
            self.assertFalse(wasi.explain("filesystem.write", path).allowed)


class Network(WasiTest):
    def listener(self):
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)
        return listener, "{}:{}".format(*listener.getsockname())

    def check_refused(self, wasi, address):
        for command in (
            f"connect {address}",
            "listen 127.0.0.1:0",
            "resolve localhost",
            f"udp-send {address} x",
        ):
            with self.subTest(command):
                self.assertTrue(wasi.call(command).startswith(b"error"))

    def test_none_without_grants(self):
        listener, address = self.listener()
        self.check_refused(self.wasi(), address)
        # Nobody connected.
        listener.setblocking(False)
        with self.assertRaises(BlockingIOError):
            listener.accept()
        self.assertEqual({action for action, _, _ in self.recorded()}, {"network.outbound", "network.inbound"})

    def test_records(self):
        _, address = self.listener()
        self.check_refused(self.wasi({"network": {"outbound": ["192.0.2.1:1"]}}), address)
        self.assertEqual(
            self.recorded(),
            [
                ("network.outbound", address, "not-granted"),
                # Port 0 stands for any port.
                ("network.inbound", "127.0.0.1", "not-granted"),
                ("network.outbound", "localhost", "not-granted"),
                ("network.outbound", address, "not-granted"),
            ],
        )

    def test_outbound(self):
        _, granted = self.listener()
        _, other = self.listener()
        wasi = self.wasi({"network": {"outbound": [granted]}})
        self.assertEqual(wasi.call(f"connect {granted}"), b"ok")
        self.assertEqual(wasi.call(f"connect {other}"), NO_CONNECTION)
        self.assertTrue(wasi.explain("network.outbound", granted).allowed)
        self.assertFalse(wasi.explain("network.outbound", other).allowed)
        wasi.revoke({"network": {"outbound": [granted]}})
        self.assertEqual(wasi.call(f"connect {granted}"), NO_CONNECTION)

    def test_patterns(self):
        _, address = self.listener()
        port = address.rpartition(":")[2]
        for pattern, allowed in {
            "127.0.0.1": True,
            "127.0.0.0/8": True,
            f"127.0.0.0/8:{port}": True,
            "127.0.0.2": False,
            f"127.0.0.1:{int(port) ^ 1}": False,
            "localhost": False,
            # Only public addresses.
            "*": False,
        }.items():
            with self.subTest(pattern):
                with self.wasi({"network": {"outbound": [pattern]}}) as wasi:
                    expected = b"ok" if allowed else NO_CONNECTION
                    self.assertEqual(wasi.call(f"connect {address}"), expected)

    def test_a_name_leads_to_public_addresses_only(self):
        _, address = self.listener()
        port = int(address.rpartition(":")[2])
        short = {"outbound": [f"localhost:{port}"]}
        with self.wasi({"network": short}) as wasi:
            reply = wasi.call(f"connect localhost:{port}")
            self.assertTrue(reply.startswith(b"error"), reply)
        long = [{"action": "outbound", "host_pattern": "localhost", "port": port, "private": True}]
        with self.wasi({"network": long}) as wasi:
            self.assertEqual(wasi.call(f"connect localhost:{port}"), b"ok")

    def test_inbound(self):
        wasi = self.wasi({"network": {"inbound": ["127.0.0.1"]}})
        reply = wasi.call("hold-listener 127.0.0.1:0").decode()
        self.assertTrue(reply.startswith("127.0.0.1:"), reply)
        host, _, port = reply.partition(":")
        made = wasi.request("accept hello")
        with socket.create_connection((host, int(port)), PATIENCE) as connection:
            connection.sendall(b"hi")
            connection.shutdown(socket.SHUT_WR)
            self.assertEqual(connection.recv(100), b"hello")
        self.assertEqual(made.result(PATIENCE), b"hi")
        # It may neither connect nor listen elsewhere.
        _, address = self.listener()
        self.assertEqual(wasi.call(f"connect {address}"), NO_CONNECTION)
        self.assertTrue(wasi.call("listen 0.0.0.0:0").startswith(b"error"))


class Ambient(WasiTest):
    """What every component has unless a policy denies it."""

    def test_environment(self):
        wasi = self.wasi(env={"NAME": "value"})
        self.assertEqual(wasi.call("env-all"), b"NAME=value")
        self.the_engine.set_policies([{"effect": "deny", "action": "environment.read"}])
        other = self.wasi(env={"NAME": "value"})
        self.assertEqual(other.call("env-all"), b"")
        self.assertIn(("environment.read", "", "policy"), self.recorded())

    def test_clock_and_random_numbers(self):
        wasi = self.wasi()
        for action, command in (("clock.read", "time"), ("random.read", "random 8")):
            self.assertFalse(wasi.call(command).startswith(b"error"))
            self.the_engine.set_policies([{"effect": "deny", "action": action}])
            with self.assertRaises(Trap) as caught:
                wasi.call(command)
            self.assertIn(f"capability denied: {action}", caught.exception.message)


class Quotas(WasiTest):
    def test_random_bytes_per_second(self):
        wasi = self.wasi(quotas={"random_bytes_per_second": 1000})
        with self.assertRaises(ResourceLimitExceeded) as caught:
            for _ in range(1000):
                wasi.call("random 500")
        self.assertEqual(caught.exception.detail["limit"], "random-bytes-per-second")
        self.assertEqual(caught.exception.detail["value"], 1000)
        self.assertIn(("random.read", "", "quota"), self.recorded())

    def test_wasi_resources(self):
        wasi = self.wasi(quotas={"wasi_resources": 50})
        with self.assertRaises(ResourceLimitExceeded) as caught:
            wasi.call("pollables 100")
        self.assertEqual(caught.exception.detail["limit"], "wasi-resources")
        self.assertEqual(caught.exception.detail["value"], 50)
        # The next instance starts with the full quota.
        self.assertEqual(wasi.call("pollables 10"), b"10")

    def test_output_counts_as_log(self):
        entries = []
        engine = self.engine(logger=entries.append)
        wasi = engine.load(WASI, guest("wasi"), quotas={"log_bytes_per_second": 1000})
        began = time.monotonic()
        wasi.call("flood 1000 100")
        most = 10 * (1 + time.monotonic() - began) + 1
        kept = sum(len(entry.message) >= 100 for entry in entries)
        self.assertTrue(1 <= kept <= most, (kept, most))


if __name__ == "__main__":
    unittest.main()
