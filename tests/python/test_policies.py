"""Policies: rules for all components of an engine."""

import threading
import unittest
from concurrent.futures import ThreadPoolExecutor

from support import PATIENCE, RIGHTS, EngineTest, Hooked, guest

from airssys_wasm import (
    Engine,
    EngineClosed,
    Explanation,
    InvalidOptions,
    Trap,
)

ECHO = "test/echo/0"
OWN = "test/user/0"

STORAGE_IS_REFUSED = {"effect": "deny", "action": "storage.*"}


def denied(action, target):
    return f"error: delivery-failed(capability denied: {action} {target})".encode()


def storage_denied(action):
    return f"error: io-error(capability denied: {action} {OWN})".encode()


class Policies(EngineTest):
    """Tests with components that have every right unless a policy denies it."""

    def setUp(self):
        self.the_engine = self.engine()
        self.the_engine.load(ECHO, guest("echo"), mailbox={"capacity": 1 << 20})

    def requester(self, id="test/requester/0"):
        return self.the_engine.load(id, guest("requester"))

    def user(self, engine=None):
        return (engine or self.the_engine).load(OWN, guest("storage-user"))


class Rules(Policies):
    def test_deny_beats_a_grant(self):
        requester = self.requester()
        self.assertEqual(requester.call(f"send {ECHO} x"), b"ok")
        self.the_engine.set_policies([{"effect": "deny", "action": "messaging.send"}])
        self.assertEqual(requester.call(f"send {ECHO} x"), denied("messaging.send", ECHO))
        requester.grant({"messaging": {"send": [ECHO]}})
        self.assertEqual(requester.call(f"send {ECHO} x"), denied("messaging.send", ECHO))
        self.assertEqual(requester.call(f"broadcast {ECHO} x"), b"ok")

    def test_the_first_rule_that_applies_decides(self):
        requester = self.requester()
        self.the_engine.set_policies(
            [
                {"effect": "allow", "action": "messaging.send", "resource": "test/echo/*"},
                {"effect": "deny", "resource": "test/**", "reason": "closed"},
                {"effect": "allow"},
                {"effect": "deny"},
            ]
        )
        self.assertEqual(requester.call(f"send {ECHO} x"), b"ok")
        reply = requester.call(f"request {ECHO} 1000 x")
        self.assertEqual(reply, denied("messaging.request", ECHO))
        self.assertEqual(requester.call("send other/x/y x"), b"error: target-not-found(other/x/y)")
        explained = requester.explain("messaging.request", ECHO)
        self.assertEqual(explained, Explanation(False, "policy", "policy rules[1] deny: closed"))

    def test_allow_grants_nothing(self):
        engine = self.bare_engine(policies=[{"effect": "allow"}])
        user = self.user(engine)
        self.assertEqual(user.call("set k v"), storage_denied("storage.write"))
        explained = user.explain("storage.write", OWN)
        self.assertEqual(explained, Explanation(False, "not-granted", "no grant"))

    def test_matching_components(self):
        plugin, other = self.requester("plugins/x/0"), self.requester("app/x/0")
        rule = {"effect": "deny", "component": "plugins/*/*", "action": "messaging.*"}
        self.the_engine.set_policies([rule])
        self.assertEqual(plugin.call(f"send {ECHO} x"), denied("messaging.send", ECHO))
        self.assertEqual(other.call(f"send {ECHO} x"), b"ok")
        # Also components that are loaded later.
        later = self.requester("plugins/y/0")
        self.assertEqual(later.call(f"send {ECHO} x"), denied("messaging.send", ECHO))

    def test_matching_actions_and_resources(self):
        user = self.user()
        user.call("set k v")
        for action, commands in {
            "storage.read": {"get k", "exists k", "list", "usage"},
            "storage.write": {"set k v"},
            "storage.delete": {"delete none"},
        }.items():
            self.the_engine.set_policies([{"effect": "deny", "action": action}])
            for command in ("get k", "exists k", "list", "usage", "set k v", "delete none"):
                with self.subTest(action=action, command=command):
                    refused = user.call(command) == storage_denied(action)
                    self.assertEqual(refused, command in commands)

    def test_functions_that_need_no_grant_can_be_denied(self):
        entries = []
        engine = self.engine(logger=entries.append)
        chatty = engine.load("test/chatty/0", guest("chatty"))
        requester = engine.load("test/requester/0", guest("requester"))
        engine.set_policies(
            [{"effect": "deny", "action": a} for a in ("clock.read", "messaging.cancel")]
        )
        with self.assertRaises(Trap) as caught:
            chatty.call("time")
        self.assertIn("capability denied: clock.read", caught.exception.message)
        number = "0" * 16
        self.assertEqual(requester.call(f"cancel {number}"), denied("messaging.cancel", number))
        engine.set_policies([{"effect": "deny", "action": "log.write"}])
        entries.clear()
        self.assertEqual(chatty.call("log error hidden"), b"ok")
        engine.set_policies([])
        chatty.call("log error shown")
        self.assertEqual([entry.message for entry in entries], ["shown"])

    def test_who_is_seen(self):
        requester = self.requester()
        self.assertIn(ECHO, requester.call("list").decode().split())
        self.the_engine.set_policies(
            [{"effect": "deny", "action": "directory.list", "resource": ECHO}]
        )
        self.assertNotIn(ECHO, requester.call("list").decode().split())
        expected = f"error: invalid-state(capability denied: directory.list {ECHO})"
        self.assertEqual(requester.call(f"metadata {ECHO}"), expected.encode())
        # Sending to it is still allowed.
        self.assertEqual(requester.call(f"send {ECHO} x"), b"ok")

    def test_policies_do_not_apply_to_the_host(self):
        self.the_engine.set_policies([{"effect": "deny"}])
        echo = self.the_engine.find(ECHO)
        self.assertEqual(echo.call("x", sender="plugins/x/0"), b"x")
        self.assertEqual(self.user().describe()["state"], "running")


class Changes(Policies):
    def test_a_set_replaces_the_previous_one(self):
        engine = self.engine(policies=[STORAGE_IS_REFUSED])
        user = self.user(engine)
        self.assertEqual(user.call("set k v"), storage_denied("storage.write"))
        engine.set_policies([{"effect": "deny", "action": "storage.read"}])
        self.assertEqual(user.call("set k v"), b"ok")
        self.assertEqual(user.call("get k"), storage_denied("storage.read"))
        engine.set_policies([])
        self.assertEqual(user.call("get k"), b"v")

    def test_forms(self):
        user = self.user()
        for policies in (
            [STORAGE_IS_REFUSED],
            (STORAGE_IS_REFUSED,),
            iter([STORAGE_IS_REFUSED]),
            {"rules": [STORAGE_IS_REFUSED]},
        ):
            with self.subTest(repr(policies)):
                self.the_engine.set_policies(policies)
                self.assertFalse(user.explain("storage.read", OWN).allowed)
                self.the_engine.set_policies({})
                self.assertTrue(user.explain("storage.read", OWN).allowed)
        engine = self.engine(policies={"rules": [STORAGE_IS_REFUSED]})
        self.assertFalse(self.user(engine).explain("storage.read", OWN).allowed)

    def test_changes_apply_at_the_next_check(self):
        # In the middle of a message: it reads, then it writes.
        def hook(operation, namespace, key):
            if operation == "get":
                engine.set_policies([{"effect": "deny", "action": "storage.write"}])

        engine = self.engine(storage=Hooked(hook))
        user = self.user(engine)
        self.assertEqual(user.call("incr n"), storage_denied("storage.write"))
        engine.set_policies([])
        self.assertEqual(user.call("set n 1"), b"ok")

    def test_changes_while_components_are_at_work(self):
        requesters = [self.requester(f"test/requester/{n}") for n in range(4)]
        refused = denied("messaging.send", ECHO)
        seen = set()
        over = threading.Event()

        def work(requester):
            while not over.is_set():
                seen.add(requester.call(f"send {ECHO} x"))

        rule = {"effect": "deny", "action": "messaging.send", "resource": ECHO}
        with ThreadPoolExecutor(len(requesters)) as pool:
            working = [pool.submit(work, requester) for requester in requesters]
            try:
                for _ in range(200):
                    self.the_engine.set_policies([rule])
                    self.assertEqual(requesters[0].call(f"send {ECHO} x"), refused)
                    self.the_engine.set_policies([])
                    self.assertEqual(requesters[0].call(f"send {ECHO} x"), b"ok")
                self.the_engine.set_policies([rule])
                self.eventually(lambda: refused in seen)
            finally:
                over.set()
            for one in working:
                one.result(PATIENCE)
        self.assertLessEqual(seen, {b"ok", refused})

    def test_a_malformed_document_changes_nothing(self):
        user = self.user()
        self.the_engine.set_policies([STORAGE_IS_REFUSED])
        for wrong, expected in (
            ([{}], "policies.rules[0].effect: a string expected, nothing found"),
            ([{"effect": "forbid"}], '"forbid" is not allowed, "allow" or "deny" expected'),
            ([{"effect": "deny", "action": "storage"}], 'rules[0].action: "storage"'),
            (
                [{"effect": "allow"}, {"effect": "deny", "component": "a"}],
                'policies.rules[1].component: "a" can match no component id',
            ),
            (
                [{"effect": "deny", "actions": "*"}],
                'unknown key "actions", did you mean "action"?',
            ),
            ({"rule": []}, 'policies: unknown key "rule", did you mean "rules"?'),
            ({"rules": {}}, "policies.rules: an array of rules expected, an object found"),
        ):
            with self.subTest(expected):
                with self.assertRaises(InvalidOptions) as caught:
                    self.the_engine.set_policies(wrong)
                self.assertIn(expected, caught.exception.message)
                self.assertEqual(user.call("get k"), storage_denied("storage.read"))
                with self.assertRaises(InvalidOptions) as caught:
                    Engine(policies=wrong)
                self.assertIn(expected, caught.exception.message)

    def test_arguments(self):
        for wrong in ("deny", ["deny"], 5, [5], None):
            with self.subTest(repr(wrong)), self.assertRaises(TypeError):
                self.the_engine.set_policies(wrong)
        self.the_engine.close()
        with self.assertRaises(EngineClosed):
            self.the_engine.set_policies([])

    def test_engines_have_their_own(self):
        other = self.user(self.engine(capabilities=RIGHTS))
        self.the_engine.set_policies([STORAGE_IS_REFUSED])
        self.assertEqual(other.call("set k v"), b"ok")


if __name__ == "__main__":
    unittest.main()
