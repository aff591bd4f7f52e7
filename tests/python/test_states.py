"""Restarts, waits for states, and an event for each change."""

import threading
import unittest

from support import PATIENCE, EngineTest, guest

from airssys_wasm import ComponentNotFound, InvalidArgument, Timeout, Trap


class States(EngineTest):
    def test_a_restart_makes_a_new_instance(self):
        counter = self.engine().load("app/counter/0", guest("counter"))
        self.assertEqual([counter.call("inc") for _ in range(2)], [b"1", b"2"])
        counter.restart()
        self.assertEqual(counter.call("inc"), b"1")
        self.assertEqual(counter.describe()["restarts"], 1)
        counter.restart(timeout=PATIENCE)
        self.assertEqual(counter.describe()["restarts"], 2)

    def test_a_restart_interrupts_after_its_timeout(self):
        limits = {"max_execution_time_ms": 3_600_000, "max_fuel": None}
        trapper = self.engine().load("app/trapper/0", guest("trapper"), limits=limits)
        trapper.send("loop")
        self.eventually(lambda: trapper.describe()["mailbox"]["depth"] == 0)
        trapper.restart(timeout=0)
        self.assertEqual(trapper.call("ok"), b"ok")

    def test_every_change_is_an_event(self):
        events = []
        engine = self.engine(events=events.append)
        trapper = engine.load("app/trapper/0", guest("trapper"))
        with self.assertRaises(Trap):
            trapper.call("unreachable")
        trapper.restart()
        trapper.unload()
        self.eventually(lambda: len(events) == 6)
        self.assertEqual({event.kind for event in events}, {"state"})
        self.assertEqual(
            [(event.data["to"], event.data["cause"]) for event in events],
            [
                ("running", "loaded"),
                ("crashed", "crash"),
                ("restarting", "restart"),
                ("running", "restarted"),
                ("unloading", "close"),
                ("unloaded", "end"),
            ],
        )
        self.assertEqual(events[1].data["component"], "app/trapper/0")
        self.assertEqual(events[1].data["code"], "trap")

    def test_a_wait(self):
        trapper = self.engine().load("app/trapper/0", guest("trapper"))
        trapper.wait("running")
        with self.assertRaisesRegex(Timeout, "app/trapper/0 is running"):
            trapper.wait("crashed", timeout=0)
        with self.assertRaisesRegex(InvalidArgument, "initializing, running"):
            trapper.wait("walking")
        outcome = []
        waiting = threading.Thread(target=lambda: outcome.append(trapper.wait("crashed")))
        waiting.start()
        with self.assertRaises(Trap):
            trapper.call("unreachable")
        waiting.join(PATIENCE)
        self.assertEqual(outcome, [None])
        trapper.unload()
        with self.assertRaises(ComponentNotFound):
            trapper.wait("running", timeout=PATIENCE)
        with self.assertRaises(ComponentNotFound):
            trapper.restart()


if __name__ == "__main__":
    unittest.main()
