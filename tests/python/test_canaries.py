"""Canaries: a version that handles a share of the messages until it is promoted or aborted."""

import json
import unittest

from support import EngineTest, guest

from airssys_wasm import (
    CanaryUnderWay,
    ComponentStopped,
    InvalidArgument,
    InvalidOptions,
    Status,
    Trap,
)

ID = "test/it/0"


class Canaries(EngineTest):
    def setUp(self):
        self.events = []
        self.engine_ = self.engine(events=self.events.append)

    def probe(self, **canary):
        """A probe, and one on trial that answers with ``V`` 2."""
        it = self.engine_.load(ID, guest("probe"))
        it.replace(env={"V": "2"}, canary=canary)
        return it

    def answers(self, it, calls):
        configs = (json.loads(it.call("config")) for _ in range(calls))
        return "".join(config["env"].get("V", "1") for config in configs)

    def told(self, count):
        """What the events of canaries tell, once there are so many."""
        found = []

        def enough():
            found[:] = [event.data for event in self.events if event.kind == "canary"]
            return len(found) >= count

        self.eventually(enough)
        return [(data["change"], data["reason"]) for data in found]

    def test_a_call_promotes(self):
        it = self.probe(share_percent=25, promote="by-call")
        self.assertEqual(self.answers(it, 8), "11121112")
        canary = it.status()["canary"]
        self.assertEqual((canary["version"], canary["messages"], canary["errors"]), (2, 2, 0))
        self.assertEqual(canary["stable"], {"messages": 6, "errors": 0})
        it.promote()
        self.assertEqual((self.answers(it, 3), it.status()["canary"]), ("222", None))
        self.assertEqual(self.told(2), [("begun", None), ("promoted", "call")])
        it.rollback()
        self.assertEqual(self.answers(it, 2), "11")

    def test_a_call_aborts(self):
        it = self.probe(share_percent=100, promote="by-call")
        self.assertEqual(self.answers(it, 2), "22")
        with self.assertRaises(CanaryUnderWay) as caught:
            it.replace()
        self.assertIs(caught.exception.status, Status.CANARY_UNDER_WAY)
        it.abort(timeout=60)
        self.assertEqual(self.answers(it, 2), "11")
        for end in (it.promote, it.abort):
            with self.assertRaisesRegex(InvalidArgument, "has no canary"):
                end()

    def test_messages_promote(self):
        it = self.probe(share_percent=50, messages=2)
        self.assertEqual(self.answers(it, 6), "121222")
        self.assertEqual(self.told(2), [("begun", None), ("promoted", "messages")])

    def test_errors_abort(self):
        it = self.engine_.load(ID, guest("echo"))
        it.replace(guest("trapper"), canary={"share_percent": 50})
        self.assertEqual(it.call("unreachable"), b"unreachable")
        with self.assertRaises(Trap):
            it.call("unreachable")
        self.assertEqual(self.told(2), [("begun", None), ("aborted", "errors")])
        self.assertEqual(it.call("unreachable"), b"unreachable")
        self.assertEqual(it.describe()["restarts"], 0)

    def test_time_aborts_what_has_handled_nothing(self):
        it = self.probe(time_ms=1)
        self.assertEqual(self.told(2), [("begun", None), ("aborted", "time")])
        self.assertEqual(self.answers(it, 1), "1")

    def test_a_stopped_component_tries_nothing(self):
        it = self.engine_.load(ID, guest("probe"))
        it.stop()
        with self.assertRaises(ComponentStopped):
            it.replace(canary={})

    def test_options(self):
        it = self.engine_.load(ID, guest("probe"))
        for canary, words in (
            ({"share": 1}, "share-percent"),
            ({"share_percent": 0}, "share-percent"),
            ({"max_error_percent": 200}, "max-error-percent"),
            ({"promote": "never"}, "promote"),
        ):
            with self.subTest(canary):
                with self.assertRaisesRegex(InvalidOptions, words):
                    it.replace(canary=canary)
        it.replace(canary={"max_error_percent": None})
        it.abort()


if __name__ == "__main__":
    unittest.main()
