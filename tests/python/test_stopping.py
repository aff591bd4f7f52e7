"""Stops and starts of components, and their status."""

import contextlib
import time
import unittest

from support import PATIENCE, USER, EngineTest, Hooked, guest

from airssys_wasm import (
    ComponentFailed,
    ComponentNotFound,
    ComponentStopped,
    DeliveryFailed,
    DictStorage,
    EngineStopped,
    InstantiationFailed,
    Interrupted,
    InvalidArgument,
    ShutdownFailed,
    Status,
    Timeout,
    Trap,
    WouldDeadlock,
)

#: No limit ends these messages.
ENDLESS = {"max_execution_time_ms": 3_600_000, "max_fuel": None}


class LifeCycleTest(EngineTest):
    def states(self, engine):
        return [status["state"] for status in engine.status()]


class Stops(LifeCycleTest):
    def test_a_stopped_component_refuses_messages(self):
        engine = self.engine()
        echo = engine.load("app/echo/0", guest("echo"))
        other = engine.load("app/echo/1", guest("echo"))
        echo.stop()
        for use in (echo.call, echo.send, echo.request):
            with self.assertRaises(ComponentStopped) as caught:
                use("x")
            self.assertIs(caught.exception.status, Status.COMPONENT_STOPPED)
            self.assertEqual(
                caught.exception.detail, {"component": "app/echo/0", "state": "stopped"}
            )
        for use in (echo.health, echo.restart):
            with self.assertRaises(ComponentStopped):
                use()
        with self.assertRaises(DeliveryFailed) as caught:
            engine.broadcast([echo, other], "x")
        [(refused, reason)] = caught.exception.failed
        self.assertEqual((refused, type(reason)), (echo, ComponentStopped))
        self.assertEqual(other.call("x"), b"x")

    def test_a_start_makes_a_new_instance(self):
        engine = self.engine()
        counter = engine.load("app/counter/0", guest("counter"))
        self.assertEqual([counter.call("inc") for _ in range(2)], [b"1", b"2"])
        handle = counter.handle
        counter.stop()
        self.assertEqual(engine.find("app/counter/0"), counter)
        self.assertEqual(engine.components(), [counter])
        counter.start()
        self.assertEqual(counter.call("inc"), b"1")
        self.assertEqual(counter.handle, handle)
        self.assertEqual(engine.find("app/counter/0"), counter)

    def test_rights_and_storage_stay(self):
        user = self.bare_engine().load(USER, guest("storage-user"))
        user.grant({"storage": ["read", "write"]})
        self.assertEqual(user.call("set k v"), b"ok")
        user.stop()
        user.grant({"storage": ["delete"]})
        user.start()
        self.assertEqual(user.call("get k"), b"v")
        self.assertEqual(user.call("delete k"), b"ok")

    def test_waiting_mail_is_handled_before_the_stop(self):
        gate, user, busy = self.held_up()
        waiting = [user.request(f"set k{n} v") for n in range(20)]
        stopped = self.in_thread(user.stop)
        user.wait("stopping", timeout=PATIENCE)
        with self.assertRaises(ComponentStopped):
            user.send("set late v")
        self.assertFalse(any(made.done() for made in waiting))
        gate.open()
        self.assertIsNone(stopped())
        self.assertEqual(self.states(user.engine), ["stopped"])
        self.assertEqual([made.result(PATIENCE) for made in (busy, *waiting)], [b"ok"] * 21)
        self.assertEqual(set(gate.list(USER, "")), {"gate", *(f"k{n}" for n in range(20))})

    def test_a_stop_with_a_timeout_of_0(self):
        events = []
        engine = self.engine(events=events.append)
        trapper = engine.load("app/trapper/0", guest("trapper"), limits=ENDLESS)
        running = trapper.request("loop")
        self.eventually(lambda: trapper.describe()["messages"]["accepted"] == 1)
        self.eventually(lambda: trapper.describe()["mailbox"]["depth"] == 0)
        waiting = [trapper.request(f"ok {n}") for n in range(3)]
        # An instance that was interrupted is gone, so its `shutdown` cannot be called.
        with self.assertRaises(ShutdownFailed):
            trapper.stop(timeout=0)
        trapper.wait("stopped", timeout=0)
        with self.assertRaises(Interrupted):
            running.result(PATIENCE)
        for made in waiting:
            with self.assertRaises(ComponentStopped) as caught:
                made.result(PATIENCE)
            self.assertEqual(caught.exception.detail["state"], "stopped")
        self.eventually(lambda: len(events) == 6)
        dead = [event for event in events if event.kind == "dead-letter"]
        self.assertEqual([event.payload for event in dead], [b"ok %d" % n for n in range(3)])
        self.assertEqual({event.data["code"] for event in dead}, {"delivery-failed"})
        trapper.start()
        self.assertEqual(trapper.call("ok"), b"ok")
        for timeout in (-1, float("nan")):
            with self.assertRaises(InvalidArgument):
                trapper.stop(timeout)
            with self.assertRaises(InvalidArgument):
                engine.stop_all(timeout)

    def test_a_callback_is_not_cut_short(self):
        gate, user, busy = self.held_up()
        with self.assertRaises(Timeout):
            user.stop(timeout=0)
        user.wait("stopping", timeout=0)
        gate.open()
        user.wait("stopped", timeout=PATIENCE)
        with self.assertRaises(Interrupted):
            busy.result(PATIENCE)

    def test_another_call_hurries_a_stop(self):
        trapper = self.load("trapper", limits=ENDLESS)
        trapper.send("loop")
        waiting = trapper.request("ok")
        patient = self.in_thread(trapper.stop)
        trapper.wait("stopping", timeout=PATIENCE)
        with contextlib.suppress(ShutdownFailed):
            trapper.stop(timeout=0)
        trapper.wait("stopped", timeout=0)
        self.assertIsInstance(patient(), (ShutdownFailed, type(None)))
        with self.assertRaises(ComponentStopped):
            waiting.result(PATIENCE)

    def test_a_start_during_a_stop_follows_it(self):
        gate, user, busy = self.held_up()
        stopped = self.in_thread(user.stop)
        user.wait("stopping", timeout=PATIENCE)
        started = self.in_thread(user.start)
        gate.open()
        self.assertEqual([stopped(), started()], [None, None])
        self.assertEqual(busy.result(PATIENCE), b"ok")
        self.assertEqual(user.call("get gate"), b"v")

    def test_again(self):
        counter = self.load("counter")
        counter.call("inc")
        counter.start()
        self.assertEqual(counter.call("get"), b"1")
        counter.stop()
        counter.stop(timeout=0)
        counter.start()
        counter.start()
        self.assertEqual(counter.call("get"), b"0")

    def test_a_pool(self):
        engine = self.engine()
        pool = engine.load("app/counter/0", guest("counter"), instances=3)
        pool.stop()
        pool.wait("stopped", timeout=0)
        with self.assertRaises(ComponentStopped):
            pool.call("inc")
        self.assertEqual([one["state"] for one in pool.status()["instances"]], ["stopped"] * 3)
        pool.start()
        pool.wait("running", timeout=0)
        self.assertEqual(pool.call("inc"), b"1")

    def test_a_stopped_component_can_be_unloaded(self):
        engine = self.engine()
        echo = engine.load("app/echo/0", guest("echo"))
        echo.stop()
        echo.unload()
        self.assertEqual(engine.components(), [])
        echo.wait("unloaded", timeout=0)
        for use in (echo.stop, echo.start, echo.status):
            with self.assertRaises(ComponentNotFound):
                use()

    def test_every_change_is_an_event(self):
        events = []
        engine = self.engine(events=events.append)
        echo = engine.load("app/echo/0", guest("echo"))
        echo.stop()
        echo.start()
        echo.stop()
        echo.unload()
        self.eventually(lambda: len(events) == 9)
        self.assertEqual(
            [(event.data["to"], event.data["cause"]) for event in events],
            [
                ("running", "loaded"),
                ("stopping", "stop"),
                ("stopped", "stopped"),
                ("initializing", "start"),
                ("running", "loaded"),
                ("stopping", "stop"),
                ("stopped", "stopped"),
                ("unloading", "close"),
                ("unloaded", "end"),
            ],
        )

    def test_a_shutdown_that_fails(self):
        probe = self.load("probe", env={"SHUTDOWN_FAIL": "disk is gone"})
        with self.assertRaisesRegex(ShutdownFailed, "disk is gone"):
            probe.stop()
        probe.wait("stopped", timeout=0)
        probe.start()
        self.assertEqual(probe.call("empty"), b"")

    def test_an_initialize_that_fails(self):
        storage = DictStorage()
        engine = self.engine(storage=storage)
        user = engine.load(USER, guest("storage-user"), env={"REFUSES_IF": "locked"})
        user.stop()
        storage.set(USER, "locked", b"")
        with self.assertRaisesRegex(InstantiationFailed, "locked"):
            user.start()
        user.wait("failed", timeout=0)
        self.assertIn("locked", user.status()["instances"][0]["last-failure"]["message"])
        with self.assertRaises(ComponentFailed) as caught:
            user.call("get k")
        self.assertIs(caught.exception.status, Status.COMPONENT_FAILED)
        self.assertEqual(caught.exception.detail, {"component": USER, "state": "failed"})
        user.stop()
        user.wait("failed", timeout=0)
        with self.assertRaises(InstantiationFailed):
            engine.start_all()
        storage.delete(USER, "locked")
        user.start()
        self.assertIsNone(user.call("get k"))

    def test_a_callback_cannot_stop_its_own_component(self):
        refused = []

        def hook(operation, namespace, key):
            for use in (user.stop, user.start, engine.stop_all, engine.start_all):
                try:
                    use()
                except WouldDeadlock as error:
                    refused.append(error)
            other.stop()
            other.start()

        engine = self.engine(storage=Hooked(hook))
        user = engine.load(USER, guest("storage-user"))
        other = engine.load("app/echo/0", guest("echo"))
        self.assertEqual(user.call("set k v"), b"ok")
        self.assertEqual(len(refused), 4)
        self.assertEqual(self.states(engine), ["running", "running"])

    def test_the_end_of_the_engine_ends_a_stop(self):
        engine = self.engine()
        trapper = engine.load("app/trapper/0", guest("trapper"), limits=ENDLESS)
        trapper.send("loop")
        stopped = self.in_thread(trapper.stop)
        trapper.wait("stopping", timeout=PATIENCE)
        engine.close()
        self.assertIsInstance(stopped(), EngineStopped)


class All(LifeCycleTest):
    def test_stop_start_and_restart(self):
        events = []
        engine = self.engine(events=events.append)
        engine.stop_all()
        self.assertEqual(engine.status(), [])
        counters = [engine.load(f"app/counter/{n}", guest("counter")) for n in range(3)]

        def counts():
            return [counter.call("inc") for counter in counters]

        self.assertEqual([counts(), counts()], [[b"1"] * 3, [b"2"] * 3])
        engine.restart_all()
        self.assertEqual(counts(), [b"1"] * 3)
        engine.restart_all(timeout=PATIENCE)
        self.assertEqual(counts(), [b"1"] * 3)
        engine.stop_all()
        self.assertEqual(self.states(engine), ["stopped"] * 3)
        for counter in counters:
            with self.assertRaises(ComponentStopped):
                counter.call("inc")
        engine.stop_all(timeout=0)
        engine.start_all()
        self.assertEqual(counts(), [b"1"] * 3)

        self.eventually(lambda: len(events) == 27)
        order = {"stopping": [], "initializing": []}
        for event in events:
            order.get(event.data["to"], []).append(event.data["component"])
        ids = [counter.id for counter in counters]
        self.assertEqual(order, {"stopping": ids[::-1], "initializing": ids})

    def test_one_that_fails_does_not_keep_the_others(self):
        engine = self.engine()
        fails = {"env": {"SHUTDOWN_FAIL": "disk is gone"}}
        engine.load("app/echo/0", guest("echo"))
        first = engine.load("app/probe/0", guest("probe"), **fails)
        last = engine.load("app/probe/1", guest("probe"), **fails)
        with self.assertRaisesRegex(ShutdownFailed, "2 of 3 components: app/probe/1") as caught:
            engine.stop_all()
        failed = caught.exception.detail["failed"]
        self.assertEqual([entry["handle"] for entry in failed], [last.handle, first.handle])
        self.assertEqual({entry["status"] for entry in failed}, {Status.SHUTDOWN_FAILED})
        self.assertTrue(all("disk is gone" in entry["message"] for entry in failed))
        self.assertEqual(self.states(engine), ["stopped"] * 3)

        first.start()
        with self.assertRaises(ComponentStopped) as caught:
            engine.restart_all()
        self.assertEqual(len(caught.exception.detail["failed"]), 2)
        self.assertEqual(first.describe()["restarts"], 1)
        engine.start_all()
        self.assertEqual(self.states(engine), ["running"] * 3)

    def test_a_timeout_is_for_all_together(self):
        engine = self.engine()
        trappers = [
            engine.load(f"app/trapper/{n}", guest("trapper"), limits=ENDLESS) for n in range(3)
        ]
        running = [trapper.request("loop") for trapper in trappers]
        self.eventually(lambda: 0 in [one.describe()["mailbox"]["depth"] for one in trappers])
        with self.assertRaises(ShutdownFailed) as caught:
            engine.stop_all(timeout=0)
        # Messages that had not begun are not interrupted.
        outcomes = [made.exception(PATIENCE) for made in running]
        interrupted = [isinstance(outcome, Interrupted) for outcome in outcomes]
        self.assertEqual(len(caught.exception.detail["failed"]), interrupted.count(True))
        for outcome in outcomes:
            self.assertIsInstance(outcome, (Interrupted, ComponentStopped))
        self.assertEqual(self.states(engine), ["stopped"] * 3)

    def test_a_single_component_is_a_list_of_one(self):
        engine = self.engine()
        echo = engine.load("app/echo/0", guest("echo"))
        echo.stop()
        with self.assertRaises(ComponentStopped) as caught:
            engine.restart_all()
        [failed] = caught.exception.detail["failed"]
        self.assertEqual(failed["handle"], echo.handle)
        self.assertEqual(failed["status"], Status.COMPONENT_STOPPED)

    def test_after_a_shutdown(self):
        engine = self.engine()
        echo = engine.load("app/echo/0", guest("echo"))
        engine.shutdown(timeout=PATIENCE)
        for use in (
            engine.status,
            engine.stop_all,
            engine.start_all,
            engine.restart_all,
            echo.status,
            echo.stop,
            echo.start,
        ):
            with self.assertRaises(EngineStopped):
                use()


class TheStatus(LifeCycleTest):
    def test_without_supervision(self):
        engine = self.engine()
        trapper = engine.load("app/trapper/0", guest("trapper"))
        echo = engine.load("app/echo/0", guest("echo"), instances=2)
        instance = {
            "instance": 0,
            "state": "running",
            "health": "healthy",
            "version": 1,
            "restarts": 0,
            "restarts-in-window": None,
            "last-failure": None,
        }
        expected = {
            "handle": trapper.handle,
            "id": "app/trapper/0",
            "state": "running",
            "health": "healthy",
            "supervision": None,
            "group": None,
            "canary": None,
            "instances": [instance],
        }
        self.assertEqual(trapper.status(), expected)
        pool = echo.status()
        self.assertEqual(pool["instances"], [instance, {**instance, "instance": 1}])
        self.assertEqual(engine.status(), [expected, pool])

        before = time.time()
        with self.assertRaises(Trap):
            trapper.call("unreachable")
        trapper.wait("crashed", timeout=PATIENCE)
        status = trapper.status()
        [instance] = status["instances"]
        self.assertEqual((status["state"], instance["state"]), ("crashed", "crashed"))
        self.assertEqual((status["health"], instance["health"]), ("unhealthy", "unhealthy"))
        failure = instance["last-failure"]
        self.assertEqual(set(failure), {"code", "message", "time"})
        self.assertEqual(failure["code"], "trap")
        self.assertIn("unreachable", failure["message"])
        when = failure["time"]["seconds"] + failure["time"]["nanoseconds"] / 1e9
        self.assertLess(before - 0.1, when)
        self.assertLess(when, time.time() + 0.1)

        self.assertEqual(trapper.call("ok"), b"ok")
        [instance] = trapper.status()["instances"]
        self.assertEqual((instance["state"], instance["restarts"]), ("running", 1))
        self.assertEqual(instance["last-failure"], failure)


if __name__ == "__main__":
    unittest.main()
