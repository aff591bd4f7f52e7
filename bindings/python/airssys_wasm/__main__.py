"""``python -m airssys_wasm stubs component.wasm``: tools for components."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import List, Optional

from airssys_wasm import AirssysError, inspect
from airssys_wasm._stubs import stubs


def main(arguments: Optional[List[str]] = None) -> int:
    """Runs a command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m airssys_wasm")
    commands = parser.add_subparsers(dest="command", required=True)
    about = "writes a Python module with the types of a component's exports and of what it imports"
    command = commands.add_parser("stubs", help=about, description=about)
    command.add_argument("component", type=Path, help="the binary; nothing of it runs")
    command.add_argument("-o", "--output", type=Path, help="the module (default: standard output)")
    given = parser.parse_args(arguments)
    try:
        text = stubs(inspect(given.component))
        if given.output is None:
            sys.stdout.write(text)
        else:
            given.output.write_text(text, encoding="utf-8")
    except (AirssysError, OSError) as error:
        print(f"{given.component}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
