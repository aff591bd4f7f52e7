"""The examples, run as programs."""

import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from support import PACKAGE_PARENT, PATIENCE, guest

TEXT = """\
The cat sat. The dog sat too.

Then the cat went; the dog stayed.
"""


def run_example(name, *arguments):
    return subprocess.run(
        [sys.executable, str(PACKAGE_PARENT / "examples" / name), *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(PACKAGE_PARENT), "PYTHONIOENCODING": "utf-8"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        timeout=PATIENCE,
    )


class Examples(unittest.TestCase):
    def test_hello(self):
        result = run_example("hello.py", guest("echo"), "hello")
        self.assertEqual((result.returncode, result.stdout), (0, "hello\n"), result.stderr)

    def count_words(self, text, program="wordcount.py"):
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory, "text")
            path.write_text(text, encoding="utf-8")
            return run_example(program, guest("words").parent, path)

    def test_wordcount(self):
        result = self.count_words(TEXT)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(
            result.stdout.splitlines(),
            ["2 chunks", "4 the", "2 cat", "2 dog", "2 sat", "1 stayed", "1 then", "1 too"]
            + ["1 went", "the storage holds 8 keys"],
        )
        # One record per chunk.
        records = result.stderr.splitlines()
        self.assertEqual(len(records), 2, result.stderr)
        for record in records:
            self.assertIn("INFO:root:demo/words/0: counted a chunk", record)

    def test_editor(self):
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory, "text")
            path.write_text("# the first heading  \nplain text \n# another", encoding="utf-8")
            result = run_example("editor.py", guest("editor-trim").parent, path)
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        self.assertEqual(
            result.stdout.splitlines(),
            [
                "editor/new/0: capability denied: host.function editor:api/buffer#set-line",
                "editor/trim/0: 2 lines trimmed, lines [0, 1]",
                "editor/title/0: 2 headings capitalized, lines [0, 2]",
                "[editor/count/0] 8 words",
                "editor/count/0: counted, lines []",
                "# The First Heading",
                "plain text",
                "# Another",
            ],
        )

    def test_two_processes(self):
        result = self.count_words(TEXT, "two_processes.py")
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        self.assertEqual(
            result.stdout.splitlines(),
            ["2 chunks", "4 the", "2 cat", "2 dog", "2 sat", "1 stayed", "1 then", "1 too"]
            + ["1 went"],
        )

    def test_two_processes_with_many_messages(self):
        result = self.count_words("word größe\n\n" * 1500, "two_processes.py")
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        self.assertEqual(result.stdout.splitlines(), ["1500 chunks", "1500 größe", "1500 word"])

    def test_wordcount_of_more_than_the_usual_mailbox_holds(self):
        result = self.count_words("word größe\n\n" * 1500)
        lines = ["1500 chunks", "1500 größe", "1500 word", "the storage holds 2 keys"]
        self.assertEqual((result.returncode, result.stdout.splitlines()), (0, lines))


if __name__ == "__main__":
    unittest.main()
