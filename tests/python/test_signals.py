"""Signal handlers that Python installs after the engine's."""

import subprocess
import sys
import textwrap
import unittest

from support import guest

PROGRAM = """
import ctypes, faulthandler, sys, time
import airssys_wasm

with airssys_wasm.Engine() as engine:
    with open(sys.argv[1], "rb") as file:
        component = engine.load("app/trapper/0", file.read())
    {enable}
    for command in (b"oob", b"unreachable", b"div0"):
        try:
            component.call(command)
        except airssys_wasm.AirssysError as error:
            print(type(error).__name__)
    {then}
"""


class Handlers(unittest.TestCase):
    def run_with(self, enable, then=""):
        program = textwrap.dedent(PROGRAM).format(enable=enable, then=then)
        command = [sys.executable, "-c", program, str(guest("trapper"))]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    def test_faulthandler_after_the_engine_does_not_end_the_process(self):
        ended = self.run_with("faulthandler.enable()")
        self.assertEqual((ended.returncode, ended.stdout.split()), (0, ["Trap"] * 3), ended.stderr)

    def test_faults_of_the_host_are_still_reported(self):
        ended = self.run_with(
            "faulthandler.enable(); airssys_wasm.Engine().close()", "ctypes.string_at(8)"
        )
        self.assertEqual(ended.stdout.split(), ["Trap"] * 3, ended.stderr)
        self.assertLess(ended.returncode, 0)
        self.assertIn("Fatal Python error: Segmentation fault", ended.stderr)
        self.assertEqual(ended.stderr.count("Fatal Python error"), 1)


if __name__ == "__main__":
    unittest.main()
