"""State of components that outlives the engine."""

import os
import subprocess
import sys
import tempfile
import unittest

from support import PACKAGE_PARENT, EngineTest, guest

from airssys_wasm import Engine, InvalidArgument, InvalidComponent, InvalidOptions, Trap

ID = "test/ledger/0"

#: Adds 5, in a process that is killed, or ends in order.
ADD = """
import os, sys
sys.path.insert(0, sys.argv[1])
from airssys_wasm import Engine
engine = Engine(storage=sys.argv[2])
ledger = engine.load("test/ledger/0", sys.argv[3], state="durable", save_every={"messages": 1},
                     restore_after_crash=sys.argv[4] == "restores")
print(ledger.call("add 5").decode(), flush=True)
if sys.argv[5] == "killed":
    ledger.call("sum")
    os.kill(os.getpid(), 9)
engine.shutdown()
"""


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

    def test_the_next_process_goes_on(self):
        def add(restores, end):
            words = [sys.executable, "-c", ADD, PACKAGE_PARENT, self.path, guest("ledger")]
            child = subprocess.run(
                [*words, restores, end], stdout=subprocess.PIPE, check=end != "killed"
            )
            return child.stdout.decode().strip()

        self.assertEqual(add("begins-anew", "in-order"), "5")
        self.assertEqual(add("begins-anew", "killed"), "10")
        self.assertEqual(add("restores", "killed"), "15")
        self.assertEqual(add("begins-anew", "in-order"), "5")
        self.assertEqual(add("restores", "in-order"), "10")

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
