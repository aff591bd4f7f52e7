"""Supervision: what follows when a component loses its instance."""

import unittest

from support import PATIENCE, EngineTest, guest, without_states

from airssys_wasm import ComponentFailed, ComponentStopped, InvalidOptions, Status, Trap

#: Restarts follow at once.
NO_PAUSE = {"backoff": {"growth": "none"}}

#: No restart follows within a test.
LONG_PAUSE = {"backoff": {"growth": "fixed", "first_ms": 3_600_000, "max_ms": 3_600_000}}

#: The library's defaults.
DEFAULTS = {
    "restart": "permanent",
    "max-restarts": 10,
    "window-ms": 60_000,
    "backoff": {
        "growth": "exponential",
        "first-ms": 100,
        "max-ms": 30_000,
        "jitter-percent": 20,
        "quiet-ms": 60_000,
    },
}


class SupervisionTest(EngineTest):
    def crash(self, component, command="unreachable"):
        with self.assertRaises(Trap) as caught:
            component.call(command)
        return caught.exception

    def restarts(self, component):
        return component.status()["instances"][0]["restarts"]


class Policies(SupervisionTest):
    def test_permanent(self):
        trapper = self.load("trapper", supervision=NO_PAUSE)
        for n in range(1, 4):
            self.crash(trapper)
            # Without a message.
            self.eventually(lambda: self.restarts(trapper) == n)
            trapper.wait("running", timeout=PATIENCE)
        self.assertEqual(trapper.call("ok"), b"ok")
        self.assertEqual(trapper.status()["instances"][0]["restarts-in-window"], 3)

    def test_too_many_restarts(self):
        events = []
        engine = self.engine(events=events.append)
        supervision = {"restart": "permanent", "max_restarts": 2, **NO_PAUSE}
        trapper = engine.load("app/trapper/0", guest("trapper"), supervision=supervision)
        for _ in range(3):
            self.crash(trapper)
        trapper.wait("failed", timeout=PATIENCE)
        for use in (trapper.call, trapper.send, trapper.request):
            with self.assertRaises(ComponentFailed) as caught:
                use("ok")
            self.assertIs(caught.exception.status, Status.COMPONENT_FAILED)
            self.assertEqual(
                caught.exception.detail, {"component": "app/trapper/0", "state": "failed"}
            )
        for use in (trapper.health, trapper.restart, engine.restart_all):
            with self.assertRaises(ComponentFailed):
                use()
        status = trapper.status()
        [instance] = status["instances"]
        self.assertEqual((status["state"], instance["state"]), ("failed", "failed"))
        self.assertEqual((instance["restarts"], instance["restarts-in-window"]), (2, 2))
        self.assertIn("unreachable", instance["last-failure"]["message"])

        trapper.start()
        self.assertEqual(trapper.call("ok"), b"ok")
        self.assertEqual(trapper.status()["instances"][0]["restarts-in-window"], 0)
        for _ in range(3):
            self.crash(trapper)
        trapper.wait("failed", timeout=PATIENCE)
        trapper.unload()

        budget = [
            ("crashed", "crash"),
            ("restarting", "supervisor"),
            ("running", "restarted"),
        ] * 2 + [("crashed", "crash"), ("failed", "give-up")]
        loaded = ("running", "loaded")
        expected = [loaded, *budget, ("initializing", "start"), loaded, *budget]
        expected += [("unloading", "close"), ("unloaded", "end")]
        self.eventually(lambda: len(events) >= len(expected))
        self.assertEqual(
            [(event.data["to"], event.data["cause"]) for event in events], expected
        )

    def test_mail_of_a_component_that_fails(self):
        letters = []
        engine = self.engine(events=without_states(letters.append))
        supervision = {"max_restarts": 0, **NO_PAUSE}
        limits = {"max_execution_time_ms": 3_600_000, "max_fuel": None}
        trapper = engine.load(
            "app/trapper/0", guest("trapper"), supervision=supervision, limits=limits
        )
        trapper.send("loop")
        self.eventually(lambda: trapper.describe()["mailbox"]["depth"] == 0)
        waiting = [trapper.request(f"ok {n}") for n in range(3)]
        crash = trapper.request("unreachable")
        behind = [trapper.request(f"ok {n}") for n in range(3, 6)]
        trapper.interrupt()
        self.assertEqual([made.result(PATIENCE) for made in waiting], [b"ok"] * 3)
        with self.assertRaises(Trap):
            crash.result(PATIENCE)
        for made in behind:
            with self.assertRaises(ComponentFailed):
                made.result(PATIENCE)
        self.eventually(lambda: len(letters) == 3)
        self.assertEqual([one.payload for one in letters], [b"ok 3", b"ok 4", b"ok 5"])
        self.assertEqual({one.data["code"] for one in letters}, {"delivery-failed"})

    def test_transient(self):
        events = []
        engine = self.engine(events=events.append)
        supervision = {"restart": "transient", **NO_PAUSE}
        wasi = engine.load("app/wasi/0", guest("wasi"), supervision=supervision)
        error = self.crash(wasi, "exit 7")
        # WASI has only success and failure.
        self.assertEqual(error.detail["exit-code"], 1)
        self.assertEqual(wasi.call("echo x"), b"x")
        self.assertEqual(self.restarts(wasi), 1)
        error = self.crash(wasi, "exit 0")
        self.assertEqual(error.detail["exit-code"], 0)
        wasi.wait("stopped", timeout=PATIENCE)
        with self.assertRaises(ComponentStopped):
            wasi.call("echo x")
        wasi.start()
        self.assertEqual(wasi.call("echo x"), b"x")
        self.assertEqual(self.restarts(wasi), 1)
        self.eventually(lambda: len(events) == 7)
        self.assertEqual(
            [(event.data["to"], event.data["cause"]) for event in events],
            [
                ("running", "loaded"),
                ("crashed", "crash"),
                ("restarting", "supervisor"),
                ("running", "restarted"),
                ("stopped", "exit"),
                ("initializing", "start"),
                ("running", "loaded"),
            ],
        )

    def test_temporary(self):
        engine = self.engine(supervision={"restart": "temporary"})
        wasi = [engine.load(f"app/wasi/{n}", guest("wasi")) for n in range(2)]
        self.crash(wasi[0], "exit 0")
        wasi[0].wait("stopped", timeout=PATIENCE)
        self.crash(wasi[1], "exit 1")
        wasi[1].wait("failed", timeout=PATIENCE)
        engine.start_all()
        self.assertEqual([one.call("echo x") for one in wasi], [b"x"] * 2)
        self.assertEqual([self.restarts(one) for one in wasi], [0, 0])

    def test_on_demand(self):
        supervision = {"restart": "on-demand", "max_restarts": 1, **NO_PAUSE}
        trapper = self.load("trapper", supervision=supervision)
        self.crash(trapper)
        trapper.wait("crashed", timeout=PATIENCE)
        self.assertEqual(self.restarts(trapper), 0)
        self.assertEqual(trapper.call("ok"), b"ok")
        self.assertEqual(self.restarts(trapper), 1)
        self.crash(trapper)
        trapper.wait("failed", timeout=PATIENCE)

    def test_permanent_after_an_exit(self):
        wasi = self.load("wasi", supervision=NO_PAUSE)
        self.crash(wasi, "exit 0")
        self.eventually(lambda: self.restarts(wasi) == 1)
        self.assertEqual(wasi.call("echo x"), b"x")

    def test_what_the_host_does_takes_nothing_off(self):
        supervision = {"max_restarts": 0, **NO_PAUSE}
        trapper = self.load("trapper", supervision=supervision)
        trapper.restart()
        trapper.stop()
        trapper.start()
        made = trapper.request("sleep 3600000")
        while not made.done():
            trapper.interrupt()
        self.assertEqual(trapper.call("ok"), b"ok")
        self.assertEqual(trapper.status()["instances"][0]["restarts-in-window"], 0)
        self.crash(trapper)
        trapper.wait("failed", timeout=PATIENCE)

    def test_each_instance_of_a_pool_has_its_own_budget(self):
        supervision = {"max_restarts": 0, **NO_PAUSE}
        pool = self.load("trapper", supervision=supervision, instances=2)
        self.crash(pool)
        self.eventually(lambda: pool.status()["state"] == "failed")
        states = [one["state"] for one in pool.status()["instances"]]
        self.assertEqual(sorted(states), ["failed", "running"])
        self.assertEqual([pool.call("ok") for _ in range(8)], [b"ok"] * 8)
        pool.start()
        pool.wait("running", timeout=0)


class Pauses(SupervisionTest):
    def test_messages_wait(self):
        trapper = self.load("trapper", supervision=LONG_PAUSE)
        self.crash(trapper)
        made = trapper.request("ok")
        trapper.wait("crashed", timeout=PATIENCE)
        # The restart itself is mail too, until its pause has begun.
        self.eventually(lambda: trapper.describe()["mailbox"]["depth"] == 1)
        self.assertFalse(made.done())
        trapper.restart()
        self.assertEqual(made.result(PATIENCE), b"ok")

    def test_a_stop_ends_a_pause(self):
        trapper = self.load("trapper", supervision=LONG_PAUSE)
        self.crash(trapper)
        made = trapper.request("ok")
        trapper.stop()
        self.assertEqual(made.result(PATIENCE), b"ok")
        trapper.wait("stopped", timeout=0)
        trapper.start()
        self.assertEqual(trapper.call("ok"), b"ok")

    def test_a_stop_without_mail_ends_a_pause(self):
        trapper = self.load("trapper", supervision=LONG_PAUSE)
        self.crash(trapper)
        trapper.stop()
        trapper.wait("stopped", timeout=0)

    def test_an_unload_ends_a_pause(self):
        trapper = self.load("trapper", supervision=LONG_PAUSE)
        self.crash(trapper)
        trapper.unload()
        self.assertEqual(trapper.engine.components(), [])

    def test_the_end_of_the_engine_ends_a_pause(self):
        trapper = self.load("trapper", supervision=LONG_PAUSE)
        self.crash(trapper)
        trapper.engine.close()
        self.assertTrue(trapper.engine.closed)


class OptionsOfSupervision(SupervisionTest):
    def supervision(self, component):
        return component.status()["supervision"]

    def test_defaults(self):
        engine = self.engine()
        supervised = engine.load("app/echo/0", guest("echo"), supervision={})
        self.assertEqual(self.supervision(supervised), DEFAULTS)
        self.assertEqual(supervised.status()["instances"][0]["restarts-in-window"], 0)
        plain = engine.load("app/echo/1", guest("echo"))
        self.assertIsNone(self.supervision(plain))

    def test_every_key(self):
        given = {
            "restart": "transient",
            "max_restarts": None,
            "window_ms": 1,
            "backoff": {
                "growth": "fixed",
                "first_ms": 2,
                "max_ms": 3,
                "jitter_percent": 4,
                "quiet-ms": 5,
            },
        }
        found = self.supervision(self.load("echo", supervision=given))
        self.assertEqual(
            found,
            {
                "restart": "transient",
                "max-restarts": None,
                "window-ms": 1,
                "backoff": {
                    "growth": "fixed",
                    "first-ms": 2,
                    "max-ms": 3,
                    "jitter-percent": 4,
                    "quiet-ms": 5,
                },
            },
        )

    def test_defaults_of_the_engine(self):
        engine = self.engine(supervision={"max_restarts": 7, "backoff": {"first_ms": 9}})
        of_engine = {
            **DEFAULTS,
            "max-restarts": 7,
            "backoff": {**DEFAULTS["backoff"], "first-ms": 9},
        }

        def load(**options):
            return self.supervision(engine.load("app/echo/0", guest("echo"), **options))

        self.assertEqual(load(), of_engine)
        self.assertEqual(load(supervision={}), of_engine)
        self.assertEqual(
            load(supervision={"restart": "temporary"}), {**of_engine, "restart": "temporary"}
        )
        self.assertIsNone(load(options={"supervision": None}))
        with self.assertRaises(InvalidOptions):
            load(supervision={}, options={"supervision": None})


if __name__ == "__main__":
    unittest.main()
