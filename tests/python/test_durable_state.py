"""State of components that outlives the engine."""

import os
import tempfile
import unittest

from support import EngineTest, guest

from airssys_wasm import Engine, InvalidArgument, InvalidComponent, InvalidOptions, Trap

ID = "test/ledger/0"


class DurableStateTest(EngineTest):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.path = os.path.join(directory.name, "state")

    def test_the_next_engine_goes_on(self):
        for total in (b"5", b"10", b"15"):
            with Engine(storage=self.path) as engine:
                ledger = engine.load(ID, guest("ledger"), state="durable")
                self.assertEqual(ledger.call("add 5"), total)
                engine.shutdown()

    def test_a_crash_begins_anew_unless_told_otherwise(self):
        engine = self.engine()
        for restores, expected in ((False, b"0"), (True, b"6")):
            ledger = engine.load(
                ID,
                guest("ledger"),
                state="durable",
                restore_after_crash=restores,
                save_every={"messages": 3},
            )
            for _ in range(7):
                ledger.call("add 1")
            with self.assertRaises(Trap):
                ledger.call("unreachable")
            self.assertEqual(ledger.call("sum"), expected)
            ledger.restart()
            self.assertEqual(ledger.call("sum"), b"0")
            ledger.unload()

    def test_options_that_do_not_fit_are_refused(self):
        engine = self.engine()
        with self.assertRaisesRegex(InvalidOptions, "durable"):
            engine.load(ID, guest("ledger"), restore_after_crash=True)
        with self.assertRaisesRegex(InvalidComponent, "component-state"):
            engine.load(ID, guest("counter"), state="durable")
        engine.load(ID, guest("ledger"), state="durable")
        with self.assertRaisesRegex(InvalidArgument, "under this id"):
            engine.load(ID, guest("ledger"), state="durable")


if __name__ == "__main__":
    unittest.main()
