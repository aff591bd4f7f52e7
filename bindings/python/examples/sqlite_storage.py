"""A storage in SQLite: python sqlite_storage.py data.db [component.wasm message]

Components keep their data in a file that any SQLite program can read.
"""

import sqlite3
import sys

from airssys_wasm import Engine
from airssys_wasm.storage import selftest


class SqliteStorage:
    """One connection, which one thread uses at a time."""

    serialize = True

    def __init__(self, path):
        # Each statement is its own transaction. Text is compared by its bytes.
        self.db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self.db.execute("PRAGMA journal_mode = WAL")
        # A power failure may cost the latest writes; FULL keeps them, slowly.
        self.db.execute("PRAGMA synchronous = NORMAL")
        self.db.execute(
            "CREATE TABLE IF NOT EXISTS entries (namespace TEXT NOT NULL, key TEXT NOT NULL,"
            " value BLOB NOT NULL, PRIMARY KEY (namespace, key)) WITHOUT ROWID"
        )

    def get(self, namespace, key):
        query = "SELECT value FROM entries WHERE namespace = ? AND key = ?"
        row = self.db.execute(query, (namespace, key)).fetchone()
        return None if row is None else row[0]

    def set(self, namespace, key, value):
        self.db.execute("INSERT OR REPLACE INTO entries VALUES (?, ?, ?)", (namespace, key, value))

    def delete(self, namespace, key):
        self.db.execute("DELETE FROM entries WHERE namespace = ? AND key = ?", (namespace, key))

    def list(self, namespace, prefix):
        # Not LIKE or GLOB: a prefix is text, and may contain their wildcards.
        query = "SELECT key FROM entries WHERE namespace = ? AND substr(key, 1, length(?)) = ?"
        return [key for (key,) in self.db.execute(query, (namespace, prefix, prefix))]

    def usage(self, namespace):
        # The length of a text is in characters, that of a blob in bytes.
        query = (
            "SELECT coalesce(sum(length(CAST(key AS BLOB)) + length(value)), 0), count(*)"
            " FROM entries WHERE namespace = ?"
        )
        return self.db.execute(query, (namespace,)).fetchone()

    def batch(self, namespace, changes):
        self.db.execute("BEGIN IMMEDIATE")
        try:
            for key, value in changes.items():
                if value is None:
                    self.delete(namespace, key)
                else:
                    self.set(namespace, key, value)
        except BaseException:
            self.db.execute("ROLLBACK")
            raise
        self.db.execute("COMMIT")

    def namespaces(self):
        return [name for (name,) in self.db.execute("SELECT DISTINCT namespace FROM entries")]


if __name__ == "__main__":
    path, *component = sys.argv[1:]
    storage = SqliteStorage(path)
    for rule in selftest(storage):
        print(f"{rule['result']:8} {rule['rule']}")
    if component:
        wasm, message = component
        rights = {"storage": ["read", "write", "delete"]}
        with Engine(storage=storage) as engine:
            user = engine.load("demo/user/0", wasm, capabilities=rights)
            print((user.call(message) or b"").decode())
            print(dict(engine.storage["demo/user/0"]))
