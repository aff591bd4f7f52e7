"""Finding the shared library."""

import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from support import PACKAGE_PARENT


def import_with(library):
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE_PARENT)}
    environment["AIRSSYS_WASM_LIBRARY"] = library
    return subprocess.run(
        [sys.executable, "-c", "import airssys_wasm; print(airssys_wasm.library_path())"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


class Finding(unittest.TestCase):
    def check_refused(self, library, *expected):
        result = import_with(library)
        self.assertNotEqual(result.returncode, 0)
        last = result.stderr[result.stderr.index("ImportError") :]
        for text in ("AIRSSYS_WASM_LIBRARY", library, *expected):
            self.assertIn(text, last)

    def test_a_file_that_does_not_exist(self):
        self.check_refused("/no/such/libairssys_wasm.so")

    def test_a_file_that_is_no_library(self):
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory, "libairssys_wasm.so")
            path.write_bytes(b"nonsense")
            self.check_refused(str(path))

    @unittest.skipUnless(sys.platform == "linux", "needs the name of another library")
    def test_another_library(self):
        self.check_refused("libc.so.6", "airssys_version")

    @unittest.skipUnless(os.environ.get("AIRSSYS_WASM_LIBRARY"), "the library is not named")
    def test_the_named_library(self):
        library = os.environ["AIRSSYS_WASM_LIBRARY"]
        result = import_with(library)
        self.assertEqual((result.returncode, result.stdout.strip()), (0, library), result.stderr)


if __name__ == "__main__":
    unittest.main()
