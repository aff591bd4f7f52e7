"""An editor with plugins: the plugins call functions of the editor, each as far as it has rights.

Run as ``python editor.py COMPONENTS_DIR TEXT_FILE``. It prints the text as the plugins leave it.
"""

import sys
from pathlib import Path

from airssys_wasm import Engine, ResultError, caller


class Buffer:
    """The interface ``editor:api/buffer``: the lines of a text."""

    def __init__(self, text):
        self.lines = text.split("\n")

    def line_count(self):
        return len(self.lines)

    def get_line(self, number):
        if number >= len(self.lines):
            raise ResultError(f"there is no line {number}")
        return self.lines[number]

    def set_line(self, number, text):
        if number >= len(self.lines):
            raise ResultError(f"there is no line {number}")
        self.lines[number] = text


class Screen:
    """The interface ``editor:api/screen``."""

    def show(self, message):
        print(f"[{caller().id}] {message}")


READ = ["editor:api/buffer#line-count", "editor:api/buffer#get-line"]
CHANGE = ["editor:api/buffer#*"]
SHOW = ["editor:api/screen#show"]

#: The plugins, and the functions that each may call.
PLUGINS = {
    # Not trusted yet: it may look and not touch.
    "editor/new/0": ("editor-trim", READ),
    "editor/trim/0": ("editor-trim", CHANGE),
    "editor/title/0": ("editor-title", CHANGE),
    "editor/count/0": ("editor-count", READ + SHOW),
}


def main(components, path):
    """Runs all plugins on the text of a file."""
    buffer = Buffer(Path(path).read_text(encoding="utf-8"))
    interfaces = {"editor:api/buffer@1.0.0": buffer, "editor:api/screen@1.0.0": Screen()}
    with Engine(interfaces=interfaces, limits={"max_execution_time_ms": 1000}) as engine:
        for id, (name, functions) in PLUGINS.items():
            plugin = engine.load(
                id, Path(components, f"{name}.wasm"), capabilities={"host": functions}
            )
            try:
                report = plugin.exports.command.run()
                print(f"{id}: {report['message']}, lines {report['changed']}")
            except ResultError as error:
                print(f"{id}: {error.value}")
    print("\n".join(buffer.lines))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
