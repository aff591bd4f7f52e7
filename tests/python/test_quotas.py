"""Quotas: how much components may do."""

import time
import unittest

from support import PATIENCE, EngineTest, Gate, guest

from airssys_wasm import DictStorage, Engine, InvalidOptions, QueueFull, ResourceLimitExceeded

ECHO = "test/echo/0"
OWN = "test/user/0"

DEFAULTS = {
    "messages-per-second": None,
    "outstanding-requests": None,
    "storage-bytes": None,
    "storage-keys": None,
    "log-bytes-per-second": None,
    "random-bytes-per-second": None,
    "host-functions-per-second": None,
    "host-call-data-bytes": 32 << 20,
    "wasi-resources": 256,
}


class Quotas(EngineTest):
    def setUp(self):
        self.records = []
        self.the_engine = self.engine(audit=self.records.append)
        self.echo = self.the_engine.load(ECHO, guest("echo"), mailbox={"capacity": 1 << 20})

    def hostile(self, **quotas):
        return self.the_engine.load("test/hostile/0", guest("hostile"), quotas=quotas)

    def user(self, **quotas):
        return self.the_engine.load(OWN, guest("storage-user"), quotas=quotas)

    def check_recorded(self, component, action, resource, rule):
        """Expects records of the quota and of nothing else."""
        self.eventually(lambda: self.records)
        found = {
            (record.decision, record.component, record.action, record.resource, record.by)
            + (record.rule,)
            for record in self.records
        }
        expected = ("denied", component.id, action, resource, "quota", f"quota {rule}")
        self.assertEqual(found, {expected})


class Messages(Quotas):
    REFUSED = "error: delivery-failed(quota exceeded: messages-per-second 50)"

    def test_messages_per_second(self):
        hostile = self.hostile(messages_per_second=50)
        began = time.monotonic()
        sent, _, error = hostile.call(f"send-many 10000 {ECHO} x").decode().partition(" ")
        # One second's quota at once, plus what refills while it sends.
        most = 50 * (1 + time.monotonic() - began) + 1
        self.assertTrue(50 <= int(sent) <= most, (sent, most))
        self.assertEqual(error, self.REFUSED)
        self.assertEqual(hostile.describe()["messages"]["sent"], int(sent))
        self.check_recorded(hostile, "messaging.send", ECHO, "messages-per-second 50")
        # The quota refills.
        self.eventually(lambda: hostile.call(f"send-many 1 {ECHO} x") == b"1")

    def test_requests_and_broadcasts_count(self):
        hostile = self.hostile(messages_per_second=50)
        began = time.monotonic()
        sent, _, error = hostile.call(f"request-many 10000 {ECHO} 60000 x").decode().partition(" ")
        most = 50 * (1 + time.monotonic() - began) + 1
        self.assertTrue(50 <= int(sent) <= most, (sent, most))
        self.assertEqual(error, self.REFUSED)
        reply = hostile.call(f"broadcast-many 10000 {ECHO} x").decode()
        self.assertIn("quota exceeded: messages-per-second 50", reply)

    def test_denied_messages_count_too(self):
        # A denial also costs the host a check and a record.
        hostile = self.the_engine.load(
            "test/hostile/0",
            guest("hostile"),
            quotas={"messages_per_second": 50},
            capabilities={},
        )
        began = time.monotonic()
        self.assertTrue(hostile.call(f"send-many 1000 {ECHO} x").startswith(b"0 error"))
        most = 50 * (1 + time.monotonic() - began) + 1
        self.the_engine.close()
        by = [record.by for record in self.records]
        self.assertTrue(50 <= by.count("not-granted") <= most, (by.count("not-granted"), most))
        self.assertEqual(by.count("quota"), 1000 - by.count("not-granted"))

    def test_instances_share_it(self):
        pool = self.the_engine.load(
            "test/hostile/0", guest("hostile"), quotas={"messages_per_second": 50}, instances=3
        )
        began = time.monotonic()
        replies = [pool.request(f"send-many 1000 {ECHO} x") for _ in range(3)]
        sent = sum(int(made.result(PATIENCE).split()[0]) for made in replies)
        most = 50 * (1 + time.monotonic() - began) + 1
        self.assertTrue(50 <= sent <= most, (sent, most))

    def test_outstanding_requests(self):
        self.the_engine.load("test/chatty/0", guest("chatty"), limits=Gate.LIMITS)
        hostile = self.hostile(outstanding_requests=3)
        many = "request-many 5 test/chatty/0 3600000 sleep 3600000"
        refused = b"3 error: delivery-failed(quota exceeded: outstanding-requests 3)"
        self.assertEqual(hostile.call(many), refused)
        self.assertEqual(hostile.call(many), b"0" + refused[1:])
        self.check_recorded(
            hostile, "messaging.request", "test/chatty/0", "outstanding-requests 3"
        )
        # Each outcome makes room for another request.
        self.assertEqual(hostile.call("cancel-kept"), b"3")
        self.assertEqual(hostile.call(f"request-many 3 {ECHO} 60000 x"), b"3")
        self.eventually(lambda: hostile.call("callbacks") == b"3")
        self.assertEqual(hostile.call(many), refused)


class Storage(Quotas):
    def test_storage_bytes(self):
        user = self.user(storage_bytes=10)
        # Keys count, too.
        self.assertEqual(user.call("fill a 10"), b"error: quota-exceeded")
        self.assertEqual(user.call("fill a 9"), b"ok")
        self.assertEqual(user.call("usage"), b"10 10 1")
        self.assertEqual(user.call("set b x"), b"error: quota-exceeded")
        self.check_recorded(user, "storage.write", OWN, "storage-bytes 10")
        # Values that take no more room than before.
        self.assertEqual(user.call("fill a 9"), b"ok")
        self.assertEqual(user.call("fill a 7"), b"ok")
        self.assertEqual(user.call("set b x"), b"ok")
        user.call("delete a")
        self.assertEqual(user.call("fill c 7"), b"ok")
        self.assertEqual(user.call("usage"), b"10 10 2")

    def test_storage_keys(self):
        user = self.user(storage_keys=2)
        for key in ("a", "b"):
            self.assertEqual(user.call(f"fill {key} 1000"), b"ok")
        self.assertEqual(user.call("set c x"), b"error: quota-exceeded")
        self.check_recorded(user, "storage.write", OWN, "storage-keys 2")
        self.assertEqual(user.call("set a other"), b"ok")
        user.call("delete b")
        self.assertEqual(user.call("set c x"), b"ok")
        self.assertEqual(user.call("list"), b"a\nc")

    def test_with_a_storage_of_the_host(self):
        storage = DictStorage()
        storage.set(OWN, "there before", b"x")
        engine = self.engine(storage=storage)
        user = engine.load(OWN, guest("storage-user"), quotas={"storage_keys": 2})
        self.assertEqual(user.call("set a v"), b"ok")
        self.assertEqual(user.call("set b v"), b"error: quota-exceeded")
        self.assertEqual(sorted(storage.list(OWN, "")), ["a", "there before"])

    def test_instances_that_write_at_once(self):
        engine = self.engine(storage=DictStorage())
        pool = engine.load(OWN, guest("storage-user"), quotas={"storage_keys": 5}, instances=4)
        made = [pool.request(f"set k{n} v") for n in range(100)]
        replies = [one.result(PATIENCE) for one in made]
        self.assertLessEqual(replies.count(b"ok"), 5)
        self.assertLessEqual(set(replies), {b"ok", b"error: quota-exceeded"})


class Others(Quotas):
    def test_log_bytes_per_second(self):
        entries = []
        engine = self.engine(logger=entries.append)
        hostile = engine.load(
            "test/hostile/0", guest("hostile"), quotas={"log_bytes_per_second": 1000}
        )
        began = time.monotonic()
        self.assertEqual(hostile.call("log-many 1000 100"), b"ok")
        # Each record counts 64 bytes more than its text.
        most = 1000 / 164 * (1 + time.monotonic() - began) + 1
        kept = sum(entry.message == "x" * 100 for entry in entries)
        self.assertTrue(6 <= kept <= most, (kept, most))

        def told():
            hostile.call("log-many 1 1")
            return [e for e in entries if e.message.endswith("dropped: log-bytes-per-second 1000")]

        # Once there is room again, a record reports how many were dropped in total.
        entry = self.eventually(told)[0]
        self.assertEqual(entry.component, hostile.id)
        self.assertGreaterEqual(int(entry.message.split()[0]), 1000 - kept)

    def test_host_call_data_bytes(self):
        quota = 100_000
        hostile = self.hostile(host_call_data_bytes=quota)
        for command in (
            f"big-send {ECHO} {quota + 1}",
            f"big-set {quota + 1}",
            f"broadcast-many {quota} {ECHO} x",
            "wide-ids 1000 100",
            f"log-many 1 {quota + 1}",
            f"long-key {quota + 1}",
        ):
            with self.subTest(command):
                with self.assertRaises(ResourceLimitExceeded) as caught:
                    hostile.call(command)
                detail = caught.exception.detail
                self.assertEqual(detail["limit"], "host-call-data-bytes")
                self.assertEqual(detail["value"], quota)
                self.assertIn("quota host-call-data-bytes 100000", caught.exception.message)
        self.assertEqual(hostile.call(f"big-send {ECHO} {quota - 1000}"), b"ok")

    def test_mailbox_bytes(self):
        # The mailbox's own bound is the quota for waiting mail.
        gate, user, _ = self.held_up(mailbox={"max_bytes": 2000})
        hostile = user.engine.load("test/hostile/0", guest("hostile"))
        sent, _, error = (
            hostile.call(f"send-many 100 {user.id} {'x' * 500}").decode().partition(" ")
        )
        self.assertEqual((int(sent), error[:16]), (2, "error: queue-ful"))
        with self.assertRaises(QueueFull):
            user.send("x" * 500)
        gate.open()

    def test_explain_ignores_them(self):
        user = self.user(storage_keys=1)
        user.call("set a v")
        self.assertEqual(user.call("set b v"), b"error: quota-exceeded")
        self.assertTrue(user.explain("storage.write", OWN).allowed)


class Options(EngineTest):
    def test_defaults(self):
        self.assertEqual(self.load("echo").describe()["quotas"], DEFAULTS)

    def test_those_of_the_engine(self):
        engine = self.engine(quotas={"storage_keys": 1, "storage_bytes": 100})
        one = engine.load(OWN, guest("storage-user"))
        one.call("set a v")
        self.assertEqual(one.call("set b v"), b"error: quota-exceeded")
        # A load changes some of them and lifts others.
        own = {"storage_keys": None, "messages-per-second": 7}
        other = engine.load("test/user/1", guest("storage-user"), quotas=own)
        self.assertEqual(
            other.describe()["quotas"],
            {**DEFAULTS, "storage-bytes": 100, "messages-per-second": 7},
        )
        for key in "abc":
            self.assertEqual(other.call(f"set {key} v"), b"ok")

    def test_errors(self):
        for wrong, expected in (
            ({"storage_keys": 0}, "quotas.storage-keys: 0 is not allowed"),
            ({"storage_keys": "many"}, "quotas.storage-keys: an integer of at least 1 expected"),
            ({"storage": 1}, 'quotas: unknown key "storage", did you mean "storage-'),
            ({"host_call_data_bytes": 1 << 30}, "quotas.host-call-data-bytes: 1073741824 is not"),
            ({"wasi_resources": 0}, "quotas.wasi-resources: 0 is not allowed"),
        ):
            with self.subTest(expected):
                with self.assertRaises(InvalidOptions) as caught:
                    self.load("echo", quotas=wrong)
                self.assertIn(expected, caught.exception.message)
                with self.assertRaises(InvalidOptions):
                    Engine(quotas=wrong)
        with self.assertRaises(InvalidOptions) as caught:
            self.load("echo", quotas={}, options={"quotas": {}})
        self.assertIn("given twice", caught.exception.message)


if __name__ == "__main__":
    unittest.main()
