"""Counts the words of a text with two components: python wordcount.py COMPONENTS_DIR TEXT_FILE"""

import json
import logging
import sys
import time
from pathlib import Path

from airssys_wasm import Engine


class Table:
    """Storage of the components: {(component, key): value}."""

    def __init__(self):
        self.rows = {}

    def get(self, namespace, key):
        return self.rows.get((namespace, key))

    def set(self, namespace, key, value):
        self.rows[namespace, key] = value

    def delete(self, namespace, key):
        self.rows.pop((namespace, key), None)

    def list(self, namespace, prefix):
        mine = [key for owner, key in tuple(self.rows) if owner == namespace]
        return [key for key in mine if key.startswith(prefix)]


def log(entry):
    logging.log(entry.level, "%s: %s %s", entry.component, entry.message, entry.context)


directory, text_file = map(Path, sys.argv[1:])
logging.basicConfig(level=logging.INFO)
table = Table()

with Engine(storage=table, logger=log, log_level=logging.INFO) as engine:
    # Each paragraph is a message to `splitter` and a reply to `words`: room for a book.
    room = {"capacity": 100_000}
    engine.load("demo/splitter/0", directory / "splitter.wasm", mailbox=room)
    # `splitter` needs no grant: it only replies. `words` sends requests to it and stores sums.
    rights = {"messaging": {"request": ["demo/splitter/0"]}, "storage": ["read", "write"]}
    words = engine.load(
        "demo/words/0", directory / "words.wasm", mailbox=room, capabilities=rights
    )

    print(words.call("count\n" + text_file.read_text("utf-8")).decode())
    # The counts arrive after this reply.
    while json.loads(words.call("status"))["outstanding"]:
        time.sleep(0.001)
    print(words.call("top 10").decode())

print(f"the storage holds {len(table.rows)} keys")
