"""Audit records: decisions on what components may do."""

import dataclasses
import gc
import threading
import time
import unittest
import warnings
import weakref
from concurrent.futures import ThreadPoolExecutor

from support import PATIENCE, EngineTest, Gate, guest
from test_threads import run_python

from airssys_wasm import AuditRecord, Engine, InvalidArgument, Trap, WouldDeadlock

ECHO = "test/echo/0"
REQUESTER = "test/requester/0"
HOSTILE = "test/hostile/0"

#: How many records about one component are queued for a slow callback. In total four times as many.
OF_ONE = 4096


def plain(record):
    """All but the time."""
    return (record.decision, record.component, record.action, record.resource, record.by) + (
        record.rule,
    )


class AuditTest(EngineTest):
    def audited(self, audit, **options):
        """An engine with a component that others can send to."""
        engine = self.bare_engine(audit=audit, **options)
        engine.load(ECHO, guest("echo"), mailbox={"capacity": 1 << 20})
        return engine

    def requester(self, engine, **options):
        return engine.load(REQUESTER, guest("requester"), **options)

    def hostile(self, engine, **options):
        return engine.load(HOSTILE, guest("hostile"), **options)


class Records(AuditTest):
    def test_fields(self):
        records = []
        engine = self.audited(records.append)
        requester = self.requester(engine)
        before = time.time()
        requester.call(f"send {ECHO} x")
        [record] = self.eventually(lambda: list(records))
        after = time.time()
        self.assertIs(type(record), AuditRecord)
        self.assertEqual(
            record,
            AuditRecord(
                record.time,
                "denied",
                REQUESTER,
                "messaging.send",
                ECHO,
                "not-granted",
                "no grant",
            ),
        )
        # The library reads the clock every few milliseconds.
        self.assertLess(before - 0.1, record.time)
        self.assertLess(record.time, after + 0.1)
        with self.assertRaises(dataclasses.FrozenInstanceError):
            record.decision = "allowed"

    def test_each_way_to_be_refused(self):
        records = []
        rules = [
            {
                "effect": "deny",
                "action": "storage.delete",
                "reason": "what is stored stays: größer",
            },
            {"effect": "deny", "action": "clock.read"},
        ]
        engine = self.audited(records.append, policies=rules)
        user = engine.load(
            "test/user/0",
            guest("storage-user"),
            capabilities={"storage": ["write", "delete"]},
            quotas={"storage_keys": 1},
        )
        chatty = engine.load("test/chatty/0", guest("chatty"))
        requester = self.requester(engine)
        number = "00000000000000ff"
        for component, command in (
            (user, "set k v"),
            (user, "set other v"),
            (user, "get k"),
            (user, "delete k"),
            (requester, f"metadata {ECHO}"),
            (requester, f"broadcast {ECHO},test/missing/0 x"),
            (requester, f"cancel {number}"),
        ):
            component.call(command)
        with self.assertRaises(Trap):
            chatty.call("time")
        self.eventually(lambda: len(records) == 8)
        expected = [
            (user.id, "storage.write", user.id, "quota", "quota storage-keys 1"),
            (user.id, "storage.read", user.id, "not-granted", "no grant"),
            (
                user.id,
                "storage.delete",
                user.id,
                "policy",
                "policy rules[0] deny: what is stored stays: größer",
            ),
            (REQUESTER, "directory.list", ECHO, "not-granted", "no grant"),
            (REQUESTER, "messaging.broadcast", ECHO, "not-granted", "no grant"),
            (REQUESTER, "messaging.broadcast", "test/missing/0", "not-granted", "no grant"),
            (REQUESTER, "messaging.cancel", number, "never", "no request of its own"),
            (chatty.id, "clock.read", "", "policy", "policy rules[1] deny"),
        ]
        self.assertEqual([plain(record) for record in records], [("denied", *e) for e in expected])

    def test_every_denial_in_order(self):
        records = []
        requester = self.requester(self.audited(records.append))
        for n in range(500):
            requester.call(f"send test/missing/{n} x")
        self.eventually(lambda: len(records) == 500)
        targets = [f"test/missing/{n}" for n in range(500)]
        self.assertEqual([record.resource for record in records], targets)
        times = [record.time for record in records]
        self.assertEqual(times, sorted(times))

    def test_every_denial_of_many_at_once(self):
        records = []
        engine = self.audited(records.append)
        requesters = [
            engine.load(f"test/requester/{n}", guest("requester"), instances=2) for n in range(4)
        ]

        def work(n):
            for _ in range(250):
                requesters[n % 4].call(f"send {ECHO} x")

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(work, range(8)))
        self.eventually(lambda: len(records) == 2000)
        for requester in requesters:
            self.assertEqual(sum(record.component == requester.id for record in records), 500)

    def test_nothing_is_held_back_at_the_end(self):
        for end in (Engine.close, Engine.shutdown):
            records = []
            engine = self.audited(records.append)
            self.hostile(engine).call(f"send-many 1000 {ECHO} x")
            end(engine)
            engine.close()
            self.assertEqual(len(records), 1000)

    def test_explain_is_not_recorded(self):
        records = []
        engine = self.audited(records.append, audit_sample=1)
        requester = self.requester(engine)
        records.clear()
        requester.explain("messaging.send", ECHO)
        requester.explain("clock.read")
        engine.close()
        self.assertEqual(records, [])

    def test_a_long_resource(self):
        records = []
        requester = self.requester(self.audited(records.append))
        requester.call(f"cancel {'x' * 10_000}")
        [record] = self.eventually(lambda: list(records))
        self.assertTrue(record.resource.startswith("xxx"))
        self.assertLessEqual(len(record.resource), 4096)


class Sampling(AuditTest):
    def allowed(self, audit_sample, messages=1000):
        """How many records so many messages make, and how many permissions."""
        records = []
        engine = self.audited(records.append, audit_sample=audit_sample)
        hostile = self.hostile(engine, capabilities={"messaging": {"send": [ECHO]}})
        self.assertEqual(hostile.call(f"send-many {messages} {ECHO} x"), str(messages).encode())
        engine.close()
        self.assertEqual({record.decision for record in records} - {"allowed"}, set())
        sent = [record for record in records if record.action == "messaging.send"]
        for record in sent:
            expected = (HOSTILE, "messaging.send", ECHO, "grant", f"grant {ECHO}")
            self.assertEqual(plain(record), ("allowed", *expected))
        return len(sent), len(records)

    def test_none(self):
        self.assertEqual(self.allowed(0), (0, 0))

    def test_all(self):
        sent, _ = self.allowed(1)
        self.assertEqual(sent, 1000)

    def test_some(self):
        _, decisions = self.allowed(1)
        _, sampled = self.allowed(10)
        self.assertEqual(sampled, -(-decisions // 10))

    def test_denials_are_not_sampled(self):
        records = []
        engine = self.audited(records.append, audit_sample=100)
        hostile = self.hostile(engine)
        hostile.call(f"send-many 500 {ECHO} x")
        engine.close()
        self.assertEqual(sum(record.decision == "denied" for record in records), 500)


class Losses(AuditTest):
    def held_up_audit(self):
        """A callback that blocks until released, its records, and both events."""
        records = []
        inside, go_on = threading.Event(), threading.Event()

        def audit(record):
            inside.set()
            go_on.wait(PATIENCE)
            records.append(record)

        return audit, records, inside, go_on

    def test_denials(self):
        audit, records, inside, go_on = self.held_up_audit()
        engine = self.audited(audit)
        # Runs before the engine is closed, which waits for the callback.
        self.addCleanup(go_on.set)
        requester, hostile = self.requester(engine), self.hostile(engine)
        requester.call("send test/first/0 x")
        self.assertTrue(inside.wait(PATIENCE))
        # Nobody waits for the callback.
        reply = hostile.call(f"send-many {OF_ONE + 100} {ECHO} x")
        self.assertTrue(reply.startswith(b"0 error"))
        self.assertEqual(engine.stats()["audit-lost"], {"allowed": 0, "denied": 100})
        requester.call("send test/last/0 x")
        go_on.set()
        self.eventually(lambda: len(records) == 1 + OF_ONE + 1 + 1)
        # The losses are reported in their place.
        self.assertEqual(records[0].resource, "test/first/0")
        kept = records[1:-2]
        self.assertEqual({plain(record)[:2] for record in kept}, {("denied", HOSTILE)})
        lost = records[-2]
        self.assertEqual(lost, AuditRecord(lost.time, "lost", lost_allowed=0, lost_denied=100))
        self.assertEqual(records[-1].resource, "test/last/0")
        # Later records arrive normally, and the losses are reported once.
        requester.call("send test/more/0 x")
        self.eventually(lambda: records[-1].resource == "test/more/0")
        self.assertEqual([record.decision for record in records].count("lost"), 1)

    def test_what_was_allowed_is_lost_first(self):
        audit, records, inside, go_on = self.held_up_audit()
        engine = self.audited(audit, audit_sample=1)
        self.addCleanup(go_on.set)
        requester = self.requester(engine)
        requester.call("send test/first/0 x")
        self.assertTrue(inside.wait(PATIENCE))
        for n in range(3):
            sender = engine.load(
                f"test/hostile/{n}",
                guest("hostile"),
                capabilities={"messaging": {"send": [ECHO]}},
            )
            sender.call(f"send-many {OF_ONE} {ECHO} x")
        # Permissions have half of the queue, denials the other half.
        self.assertGreaterEqual(engine.stats()["audit-lost"]["allowed"], OF_ONE)
        for n in range(1000):
            requester.call(f"send test/missing/{n} x")
        self.assertEqual(engine.stats()["audit-lost"]["denied"], 0)
        go_on.set()
        self.eventually(lambda: records and records[-1].resource == "test/missing/999")
        decisions = [record.decision for record in records]
        self.assertEqual(decisions.count("denied"), 1 + 1000)
        self.assertLessEqual(decisions.count("allowed"), 2 * OF_ONE)
        self.assertIn("lost", decisions)


class Callbacks(AuditTest):
    def test_one_that_raises(self):
        calls = []

        class Unprintable(Exception):
            def __str__(self):
                raise ValueError("no text")

        errors = [ZeroDivisionError("in the callback"), Unprintable(), KeyboardInterrupt()]

        def broken(record):
            calls.append(record)
            raise errors[len(calls) - 1]

        engine = self.audited(broken)
        requester = self.requester(engine)
        with self.assertLogs("airssys_wasm", "ERROR") as logged:
            for _ in errors:
                self.assertIn(b"capability denied", requester.call(f"send {ECHO} x"))
            self.eventually(lambda: len(logged.records) == len(errors))
        self.assertEqual(len(calls), len(errors))
        self.assertIn("an audit record could not be delivered", logged.output[0])
        self.assertIn("in the callback", logged.output[0])
        self.assertEqual(engine.find(ECHO).call("x"), b"x")

    def test_one_at_a_time(self):
        order = []
        inside = threading.Lock()

        def take(record):
            self.assertTrue(inside.acquire(blocking=False))
            order.append(record)
            inside.release()

        engine = self.audited(take)
        users = [engine.load(f"test/requester/{n}", guest("requester")) for n in range(4)]
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda u: [u.call(f"send {ECHO} x") for _ in range(100)], users))
        self.eventually(lambda: len(order) == 400)

    def test_one_that_uses_the_engine(self):
        seen = []

        def use(record):
            if seen:
                return
            seen.append(engine.find(record.component).explain(record.action, record.resource))
            seen.append(engine.find(ECHO).call("x"))
            for end in (engine.close, engine.shutdown):
                with self.assertRaises(WouldDeadlock):
                    end()
            seen.append(engine.find(ECHO).request("y").result(PATIENCE))
            engine.set_policies([])
            engine.load("test/other/0", guest("echo")).unload()
            seen.append("end")

        engine = self.audited(use)
        self.requester(engine).call(f"send {ECHO} x")
        self.eventually(lambda: seen and seen[-1] == "end")
        self.assertFalse(seen[0].allowed)
        self.assertEqual(seen[1:], [b"x", b"y", "end"])

    def test_one_that_grants_what_was_denied(self):
        def ask(record):
            component = engine.find(record.component)
            component.grant({"messaging": {"send": [record.resource]}})

        engine = self.audited(ask)
        requester = self.requester(engine)
        self.assertIn(b"capability denied", requester.call(f"send {ECHO} x"))
        self.eventually(lambda: requester.call(f"send {ECHO} x") == b"ok")

    def test_one_that_calls_the_component_it_is_about(self):
        # Nobody waits for the callback, so it may wait for the component.
        gate = Gate()
        replies = []

        def call(record):
            replies.append(user.call("get gate"))

        engine = self.engine(audit=call, storage=gate, capabilities={"storage": ["read"]})
        self.addCleanup(gate.open)
        user = engine.load("test/user/0", guest("storage-user"), limits=Gate.LIMITS)
        user.call("set k v")
        gate.wait_for_arrival()
        gate.open()
        self.eventually(lambda: replies)
        self.assertEqual(replies, [None])

    def test_lifetime(self):
        class Sink:
            def __call__(self, record):
                pass

        sink = Sink()
        reference = weakref.ref(sink)
        engine = self.audited(sink)
        self.requester(engine).call(f"send {ECHO} x")
        del sink
        gc.collect()
        self.assertIsNotNone(reference())
        engine.close()
        gc.collect()
        self.assertIsNone(reference())

    def test_a_constructor_that_fails_keeps_nothing(self):
        for options, error in (
            ({"workers": 0}, ValueError),
            ({"audit_sample": -1}, ValueError),
            ({"router": 5}, TypeError),
            ({"policies": [{}]}, ValueError),
        ):

            class Sink:
                def __call__(self, record):
                    pass

            sink = Sink()
            reference = weakref.ref(sink)
            with self.subTest(options):
                with self.assertRaises(error):
                    Engine(audit=sink, **options)
                del sink
                gc.collect()
                self.assertIsNone(reference())

    def test_an_engine_that_nobody_closes(self):
        # Neither the callback nor the records keep the engine alive.
        records = []
        engine = Engine(audit=records.append)
        self.requester(engine).call(f"send {ECHO} x")
        self.eventually(lambda: records)
        reference = weakref.ref(engine)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            del engine
            gc.collect()
        self.eventually(lambda: gc.collect() >= 0 and reference() is None)

    def test_arguments(self):
        with self.assertRaises(TypeError):
            Engine(audit=5)
        for wrong in (-1, 1 << 32):
            with self.assertRaises(InvalidArgument):
                Engine(audit=print, audit_sample=wrong)
        with self.assertRaises(TypeError):
            Engine(audit=print, audit_sample="all")

    def test_the_end_of_the_interpreter(self):
        result = run_python(
            "import time",
            "def slow(record):",
            "    time.sleep(0.001)",
            "engine = airssys_wasm.Engine(audit=slow)",
            "user = engine.load('test/user/0', USER)",
            "for _ in range(100):",
            "    user.call('set k v')",
            "    user.send('set k v')",
        )
        self.assertEqual((result.returncode, result.stderr), (0, ""))


if __name__ == "__main__":
    unittest.main()
