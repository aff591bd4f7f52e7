"""Health checks, passivation, recycling, expected binaries, and the end of an engine in order."""

import hashlib
import unittest

from support import PATIENCE, EngineTest, guest

from airssys_wasm import (
    ComponentError,
    ComponentFailed,
    EngineStopped,
    InitializationFailed,
    InstantiationFailed,
    InvalidArgument,
    InvalidComponent,
    InvalidOptions,
    Timeout,
    Trap,
)

ID = "test/it/0"

#: Seconds after which a component is idle.
SOON = 0.02

#: Checks that come at once.
OFTEN = {"interval_ms": 5}

#: A crash is followed by a new instance, without a pause.
AT_ONCE = {"restart": "permanent", "backoff": {"growth": "none"}}


class UpkeepTest(EngineTest):
    def state(self, component):
        return component.status()["state"]

    def last_failure(self, component):
        [instance] = component.status()["instances"]
        return instance["last-failure"]

    def told(self, events, kind="state"):
        """What events of one kind tell, in order."""
        found = [event.data for event in events if event.kind == kind]
        if kind == "health":
            return [(data["from"], data["to"]) for data in found]
        return [(data["to"], data["cause"]) for data in found]


class Checks(UpkeepTest):
    def test_a_change_is_an_event(self):
        events = []
        engine = self.engine(events=events.append)
        health = {**OFTEN, "unhealthy_after": None}
        it = engine.load(ID, guest("probe"), health=health)
        before = "healthy"
        for number, name in enumerate(("unhealthy", "degraded", "healthy"), 1):
            it.call(f"health {name}")
            self.eventually(lambda: it.status()["health"] == name)
            self.eventually(lambda: len(self.told(events, "health")) == number)
            self.assertEqual(self.told(events, "health")[-1], (before, name))
            before = name
        change = next(event.data for event in events if event.kind == "health")
        self.assertEqual((change["component"], change["handle"]), (ID, it.handle))
        self.assertEqual((change["instance"], self.state(it)), (0, "running"))

    def test_an_unhealthy_component_is_restarted(self):
        it = self.load("probe", health={**OFTEN, "unhealthy_after": 2}, supervision=AT_ONCE)
        it.call("health unhealthy")
        self.eventually(lambda: it.status()["instances"][0]["restarts"] == 1)
        it.wait("running", timeout=PATIENCE)
        self.assertEqual(
            self.last_failure(it)["message"], "it was unhealthy 2 times in a row"
        )
        # The new instance is healthy.
        self.assertEqual(it.health(), "healthy")

    def test_or_fails(self):
        health = {**OFTEN, "unhealthy_after": 1}
        it = self.load("probe", health=health, supervision={"restart": "temporary"})
        it.call("health unhealthy")
        it.wait("failed", timeout=PATIENCE)
        with self.assertRaises(ComponentFailed):
            it.call("calls")

    def test_a_check_that_hangs(self):
        it = self.load(
            "probe",
            health={**OFTEN, "timeout_ms": 20},
            env={"HANGS_AFTER": "2"},
            limits={"max_execution_time_ms": 3_600_000},
            supervision=AT_ONCE,
        )
        self.eventually(lambda: it.status()["instances"][0]["restarts"] >= 1)
        last = self.last_failure(it)
        self.assertEqual(
            (last["code"], last["message"]),
            ("timeout", "health did not return within timeout-ms 20"),
        )

    def test_options(self):
        engine = self.engine()
        engine.load(ID, guest("echo"), health={})
        for options, kind, words in (
            ({"health": {"interval": 1}}, InvalidOptions, "interval-ms"),
            ({"health": {"interval_ms": 0}}, InvalidOptions, "interval-ms"),
            ({"health": {"unhealthy_after": 0}}, InvalidOptions, "unhealthy-after"),
            ({"activation": "never"}, InvalidOptions, "activation"),
            ({"idle_timeout": 0}, InvalidArgument, "positive"),
            ({"recycle_after_messages": 0}, InvalidOptions, "recycle-after-messages"),
            ({"recycle_above_bytes": 0}, InvalidOptions, "recycle-above-bytes"),
            ({"expect": {"version": "one"}}, InvalidOptions, "version"),
            ({"expect": {"author": "me"}}, InvalidOptions, "author"),
            ({"sha256": "00"}, InvalidOptions, "sha256"),
            ({"idle_timeout": 1, "options": {"idle-timeout-ms": 1}}, InvalidOptions, "twice"),
        ):
            with self.subTest(options):
                with self.assertRaisesRegex(kind, words):
                    engine.load(ID, guest("echo"), **options)
        with self.assertRaisesRegex(InvalidOptions, "max-live-instances"):
            self.engine(max_live_instances=0)


class EngineHealth(UpkeepTest):
    def test_every_component_counts(self):
        engine = self.engine()
        self.assertEqual(
            engine.health(), {"live": True, "ready": True, "components": 0, "not-ready": []}
        )
        probe = engine.load(ID, guest("probe"))
        engine.load("test/stopped/0", guest("echo")).stop()
        engine.load("test/passive/0", guest("echo"), activation="on-demand")
        health = engine.health()
        self.assertEqual((health["ready"], health["components"]), (True, 3))
        failed = engine.load("test/failed/0", guest("trapper"), supervision={"restart": "temporary"})
        with self.assertRaises(Trap):
            failed.call("unreachable")
        probe.call("health unhealthy")
        # The engine asks no component.
        self.assertEqual(len(engine.health()["not-ready"]), 1)
        self.assertEqual(probe.health(), "unhealthy")
        health = engine.health()
        self.assertEqual((health["live"], health["ready"]), (True, False))
        self.assertEqual(
            [(one["handle"], one["id"], one["state"]) for one in health["not-ready"]],
            [(probe.handle, ID, "running"), (failed.handle, "test/failed/0", "failed")],
        )
        self.assertEqual(health["not-ready"][0]["health"], "unhealthy")
        failed.unload()
        probe.unload()
        self.assertTrue(engine.health()["ready"])
        engine.shutdown(timeout=PATIENCE)
        with self.assertRaises(EngineStopped):
            engine.health()


class Passivation(UpkeepTest):
    def test_an_idle_component_keeps_its_state(self):
        events = []
        engine = self.engine(events=events.append)
        it = engine.load(ID, guest("ledger"), idle_timeout=SOON)
        for rounds in (1, 2, 3):
            self.assertEqual(it.call("add 7"), b"%d" % (7 * rounds))
            it.wait("passive", timeout=PATIENCE)
            described = it.describe()
            self.assertEqual((described["memory-bytes"], described["restarts"]), (0, 0))
            self.assertEqual(described["metadata"]["name"], "ledger")
        self.assertEqual(it.call("history"), b"8 bytes from 0.1.0")
        self.eventually(lambda: len(self.told(events)) >= 4)
        self.assertEqual(
            self.told(events)[:4],
            [
                ("running", "loaded"),
                ("passive", "idle"),
                ("activating", "mail"),
                ("running", "activated"),
            ],
        )

    def test_another_one_begins_anew(self):
        it = self.load("counter", idle_timeout=SOON)
        for _ in range(2):
            self.assertEqual(it.call("inc"), b"1")
            it.wait("passive", timeout=PATIENCE)

    def test_every_kind_of_mail_wakes_it(self):
        engine = self.engine()
        it = engine.load(ID, guest("ledger"), idle_timeout=SOON)
        it.wait("passive", timeout=PATIENCE)
        it.send("add 1")
        self.eventually(lambda: it.describe()["messages"]["handled"] == 1)
        it.wait("passive", timeout=PATIENCE)
        self.assertEqual(it.request("add 1").result(PATIENCE), b"2")
        it.wait("passive", timeout=PATIENCE)
        engine.broadcast([it], "add 1")
        self.eventually(lambda: it.describe()["messages"]["handled"] == 3)
        it.wait("passive", timeout=PATIENCE)
        self.assertEqual(it.health(), "healthy")
        self.assertEqual(it.call("sum"), b"3")

    def test_on_demand(self):
        engine = self.engine()
        it = engine.load(ID, guest("probe"), activation="on-demand", env={"A": "1"})
        described = it.describe()
        self.assertEqual((described["state"], described["metadata"]), ("passive", None))
        self.assertEqual(engine.find(ID), it)
        self.assertIsNone(it.call("silent"))
        described = it.describe()
        self.assertEqual((described["state"], described["metadata"]["name"]), ("running", "probe"))
        # A refusal reaches the sender of the first message.
        refuses = {"REFUSE": "because"}
        it = engine.load(ID, guest("probe"), activation="on-demand", env=refuses)
        with self.assertRaisesRegex(InstantiationFailed, "because"):
            it.call("silent")
        self.assertEqual(self.state(it), "crashed")
        with self.assertRaises(InitializationFailed):
            engine.load(ID, guest("probe"), activation="at-load", env=refuses)

    def test_a_bound_of_live_instances(self):
        engine = self.engine(max_live_instances=4)
        load = [(f"test/ledger/{n}", guest("ledger").read_bytes()) for n in range(20)]
        ledgers = [engine.load(id, wasm, activation="on-demand") for id, wasm in load]

        def live():
            return [it for it in ledgers if self.state(it) == "running"]

        self.assertEqual(live(), [])
        for rounds in (1, 2):
            for it in ledgers:
                self.assertEqual(it.call("add 1"), b"%d" % rounds)
            self.eventually(lambda: len(live()) <= 4)
            self.assertIn(ledgers[-1], live())
        # Others do not count.
        eager = [engine.load(f"test/eager/{n}", guest("echo")) for n in range(8)]
        self.assertEqual({self.state(it) for it in eager}, {"running"})

    def test_a_state_that_is_refused(self):
        it = self.load("ledger", idle_timeout=SOON)
        it.call("add 9")
        it.wait("passive", timeout=PATIENCE)
        with self.assertRaisesRegex(ComponentError, "not now"):
            it.replace(env={"AT_RESTORE": "refuse"})
        self.assertEqual(self.state(it), "passive")
        it.replace(guest("ledger"))
        self.assertEqual(it.call("sum"), b"9")

    def test_stops_and_restarts_begin_anew(self):
        it = self.load("ledger", idle_timeout=SOON)
        it.call("add 5")
        it.wait("passive", timeout=PATIENCE)
        it.restart()
        self.assertEqual(it.call("sum"), b"0")
        it.call("add 5")
        it.wait("passive", timeout=PATIENCE)
        it.stop()
        self.assertEqual(self.state(it), "stopped")
        it.start()
        self.assertEqual(it.call("sum"), b"0")


class Handover(UpkeepTest):
    def test_a_replacement_hands_the_state_over(self):
        it = self.load("ledger")
        it.call("add 40")
        it.replace(guest("ledger"))
        self.assertEqual(it.call("add 2"), b"42")
        self.assertEqual(it.call("history"), b"8 bytes from 0.1.0")
        it.rollback()
        self.assertEqual(it.call("sum"), b"42")
        it.call("at-save refuse")
        with self.assertRaisesRegex(ComponentError, "keeps version 1: .*save failed.*not now"):
            it.replace(guest("ledger"))
        self.assertEqual(it.call("sum"), b"42")
        # A restart does not.
        it.restart()
        self.assertEqual(it.call("sum"), b"0")

    def test_recycling_after_messages(self):
        events = []
        engine = self.engine(events=events.append)
        it = engine.load(ID, guest("ledger"), recycle_after_messages=10)
        self.assertEqual([it.call("add 1") for _ in range(45)], [b"%d" % n for n in range(1, 46)])
        self.assertEqual(it.describe()["restarts"], 4)
        self.eventually(lambda: self.told(events).count(("restarting", "recycle")) == 4)

    def test_recycling_above_a_size(self):
        it = self.load("ledger", recycle_above_bytes=4 << 20)
        it.call("add 5")
        small = it.describe()["memory-bytes"]
        it.call("grow 8000000")
        self.eventually(lambda: it.describe()["memory-bytes"] <= small + (1 << 20))
        self.assertEqual((it.call("sum"), it.describe()["restarts"]), (b"5", 1))


class Expectations(UpkeepTest):
    def test_only_the_expected_component_is_loaded(self):
        engine = self.engine()
        path = guest("counter")
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        expected = {"name": "counter", "version": ">=0.1.0, <1"}
        it = engine.load(ID, path, expect=expected, sha256=digest)
        self.assertEqual(it.describe()["binary"]["sha256"], digest)
        it.call("inc")
        for options, words in (
            ({"expect": {"name": "echo"}}, 'its name is "counter"'),
            ({"expect": {"version": "^1"}}, 'its version is "0.1.0"'),
            ({"sha256": "00" * 32}, "its SHA-256 is"),
        ):
            with self.subTest(options):
                with self.assertRaisesRegex(InvalidComponent, words):
                    engine.load("test/other/0", path, **options)
                with self.assertRaisesRegex(InvalidComponent, f"keeps version 1: .*{words}"):
                    it.replace(path, **options)
        with self.assertRaisesRegex(InvalidComponent, "newer than 0.1.0"):
            it.replace(path, newer=True)
        self.assertEqual((it.call("get"), engine.components()), (b"1", [it]))
        it.replace(path, expect=expected, sha256=digest, newer=False)
        self.assertEqual(it.call("get"), b"0")

    def test_on_demand_the_first_message_fails(self):
        it = self.load("counter", activation="on-demand", expect={"name": "echo"})
        with self.assertRaisesRegex(InstantiationFailed, '"echo" was expected'):
            it.call("inc")


class Shutdown(UpkeepTest):
    def test_the_last_one_ends_first(self):
        entries = []
        engine = self.engine(logger=entries.append)
        ids = [f"test/probe/{n}" for n in range(10)]
        for id in ids:
            engine.load(id, guest("probe"))
        engine.shutdown(timeout=PATIENCE)
        self.assertEqual([entry.component for entry in entries], ids[::-1])

    def test_the_error_lists_what_had_not_ended(self):
        limits = {"max_execution_time_ms": 3_600_000, "max_fuel": None}
        engine = self.engine()
        busy = [engine.load(f"test/busy/{n}", guest("trapper"), limits=limits) for n in range(2)]
        for it in busy:
            it.send("loop")
            self.eventually(lambda: it.describe()["mailbox"]["depth"] == 0)
        with self.assertRaises(Timeout) as caught:
            engine.shutdown(timeout=0.3)
        detail = caught.exception.detail
        self.assertEqual(detail["unfinished"], 2)
        self.assertEqual(
            [(one["handle"], one["id"]) for one in detail["components"]],
            [(busy[1].handle, "test/busy/1"), (busy[0].handle, "test/busy/0")],
        )


if __name__ == "__main__":
    unittest.main()
