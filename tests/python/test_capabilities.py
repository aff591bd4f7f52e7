"""Capabilities: components may do only what is granted."""

import json
import time
import unittest

from support import PATIENCE, RIGHTS, EngineTest, Gate, Hooked, guest

from airssys_wasm import (
    ComponentNotFound,
    DictStorage,
    Engine,
    EngineClosed,
    EngineStopped,
    Explanation,
    InvalidArgument,
    InvalidOptions,
    Trap,
)

ECHO = "test/echo/0"
OWN = "test/user/0"

NOT_GRANTED = Explanation(False, "not-granted", "no grant")

#: How far Python's clock and the library's may differ, in seconds.
CLOCKS = 0.1


def denied(action, target):
    return f"error: delivery-failed(capability denied: {action} {target})".encode()


def storage_denied(action, namespace=OWN):
    return f"error: io-error(capability denied: {action} {namespace})".encode()


class Rights(EngineTest):
    """Tests with a component that sends and one that stores."""

    def setUp(self):
        self.the_engine = self.bare_engine()
        self.the_engine.load(ECHO, guest("echo"))

    def requester(self, **options):
        return self.the_engine.load("test/requester/0", guest("requester"), **options)

    def user(self, **options):
        return self.the_engine.load(OWN, guest("storage-user"), **options)


class Default(Rights):
    def test_no_messages(self):
        requester = self.requester()
        for command, action in (
            ("send {} x", "messaging.send"),
            ("request {} 1000 x", "messaging.request"),
        ):
            for target in (ECHO, "test/missing/0", "test/requester/0"):
                with self.subTest(command.format(target)):
                    reply = requester.call(command.format(target))
                    self.assertEqual(reply, denied(action, target))
        reply = requester.call(f"broadcast {ECHO},test/missing/0 x")
        for target in (ECHO, "test/missing/0"):
            expected = f"capability denied: messaging.broadcast {target}"
            self.assertIn(expected, reply.decode())
        self.assertEqual(self.the_engine.find(ECHO).describe()["messages"]["accepted"], 0)

    def test_no_storage(self):
        storage = DictStorage()
        storage.set(OWN, "k", b"v")
        user = self.bare_engine(storage=storage).load(OWN, guest("storage-user"))
        for command, action in (
            ("get k", "storage.read"),
            ("exists k", "storage.read"),
            ("list", "storage.read"),
            ("usage", "storage.read"),
            ("set k w", "storage.write"),
            ("delete k", "storage.delete"),
        ):
            with self.subTest(command):
                self.assertEqual(user.call(command), storage_denied(action))
        self.assertEqual(storage.get(OWN, "k"), b"v")

    def test_nothing_is_asked_of_a_storage_that_may_not_be_used(self):
        asked = []
        engine = self.bare_engine(storage=Hooked(lambda *asking: asked.append(asking)))
        user = engine.load(OWN, guest("storage-user"), capabilities={"storage": ["read"]})
        user.call("set k v")
        user.call("get k")
        self.assertEqual(asked, [("get", OWN, "k")])

    def test_nobody_is_seen(self):
        requester = self.requester()
        self.assertEqual(requester.call("list"), b"")
        for target in (ECHO, "test/missing/0", "test/requester/0"):
            expected = f"error: invalid-state(capability denied: directory.list {target})"
            self.assertEqual(requester.call(f"metadata {target}"), expected.encode())

    def test_what_needs_no_grant(self):
        # Clocks, the log, and replies.
        entries = []
        engine = self.bare_engine(logger=entries.append)
        chatty = engine.load("test/chatty/0", guest("chatty"))
        self.assertEqual(chatty.call("log info hello"), b"ok")
        self.assertEqual([entry.message for entry in entries], ["hello"])
        self.assertAlmostEqual(int(chatty.call("millis")) / 1000, time.time(), delta=PATIENCE)
        requester = self.requester(capabilities={"messaging": {"request": [ECHO]}})
        requester.call(f"request {ECHO} 60000 ping")
        [callback] = self.eventually(lambda: json.loads(requester.call("callbacks")))
        self.assertEqual((callback["sender"], callback["payload"]), (ECHO, "ping"))

    def test_a_crash_gives_no_rights(self):
        trapper = self.the_engine.load("test/trapper/0", guest("trapper"))
        with self.assertRaises(Trap):
            trapper.call("unreachable")
        self.assertEqual(trapper.call("ok"), b"ok")
        self.assertEqual(trapper.describe()["restarts"], 1)
        self.assertEqual(trapper.explain("storage.read", trapper.id), NOT_GRANTED)


class Messages(Rights):
    def test_each_action_for_itself(self):
        commands = {
            "send": f"send {ECHO} x",
            "request": f"request {ECHO} 1000 x",
            "broadcast": f"broadcast {ECHO} x",
        }
        for granted in commands:
            with self.requester(capabilities={"messaging": {granted: [ECHO]}}) as requester:
                for action, command in commands.items():
                    with self.subTest(granted=granted, action=action):
                        refused = b"capability denied" in requester.call(command)
                        self.assertEqual(refused, action != granted)

    def test_patterns(self):
        targets = ["a/b/c", "a/b/d", "a/bb/c", "b/b/c", "host/engine/0"]
        for pattern, expected in {
            "a/b/c": ["a/b/c"],
            "a/b/*": ["a/b/c", "a/b/d"],
            "a/b*/c": ["a/b/c", "a/bb/c"],
            "a/**": ["a/b/c", "a/b/d", "a/bb/c"],
            "**/c": ["a/b/c", "a/bb/c", "b/b/c"],
            "*/b/*": ["a/b/c", "a/b/d", "b/b/c"],
            "**": targets,
            "*/*/*": targets,
            "A/b/c": [],
            "a/b/?": [],
            "a/b/[cd]": [],
        }.items():
            with self.subTest(pattern):
                rights = {"messaging": {"send": [pattern]}}
                with self.requester(capabilities=rights) as requester:
                    for target in targets:
                        reply = requester.call(f"send {target} x")
                        granted = target in expected
                        # These components do not exist.
                        missing = f"error: target-not-found({target})".encode()
                        self.assertEqual(
                            reply, missing if granted else denied("messaging.send", target)
                        )
                        explained = requester.explain("messaging.send", target)
                        self.assertEqual(explained.allowed, granted)

    def test_a_denied_and_a_missing_target_look_the_same(self):
        self.the_engine.load("hidden/there/0", guest("echo"))
        requester = self.requester(capabilities={"messaging": {"send": ["test/**"]}})
        for command in (
            "send {} x",
            "request {} 1000 x",
            "broadcast {} x",
            "metadata {}",
        ):
            with self.subTest(command):
                there, missing = (
                    requester.call(command.format(target)).decode().replace(target, "ID")
                    for target in ("hidden/there/0", "hidden/missing/0")
                )
                self.assertEqual(there, missing)
                self.assertIn("capability denied", there)

    def test_a_list_shows_who_may_be_written_to(self):
        for id in ("test/echo/1", "other/echo/0", "other/echo/1"):
            self.the_engine.load(id, guest("echo"))
        rights = {"send": ["test/echo/*"], "request": ["other/echo/1"], "broadcast": ["none/*/*"]}
        requester = self.requester(capabilities={"messaging": rights})
        seen = {ECHO, "test/echo/1", "other/echo/1"}
        self.assertEqual(set(requester.call("list").decode().split()), seen)
        for id in (ECHO, "test/echo/1", "other/echo/1", "other/echo/0"):
            found = b'"health":"healthy"' in requester.call(f"metadata {id}")
            self.assertEqual(found, id in seen, id)
            self.assertEqual(requester.explain("directory.list", id).allowed, id in seen)

    def test_a_broadcast_reaches_those_that_are_granted(self):
        other = self.the_engine.load("test/other/0", guest("requester"))
        one = self.the_engine.load("test/one/0", guest("requester"))
        rights = {"messaging": {"broadcast": ["test/one/0"]}}
        reply = self.requester(capabilities=rights).call(
            "broadcast test/other/0,test/one/0 note x"
        )
        self.assertEqual(
            reply,
            b"error: delivery-failed(test/other/0: delivery-failed: "
            b"capability denied: messaging.broadcast test/other/0)",
        )
        self.eventually(lambda: one.call("received") == b'["x"]')
        self.assertEqual(other.call("received"), b"[]")

    def test_a_router_is_not_asked_for_what_is_denied(self):
        asked = []

        class Asked:
            def route(self, envelope):
                asked.append(envelope.target)

        engine = self.bare_engine(router=Asked())
        rights = {"messaging": {"send": ["far/a/*"]}}
        requester = engine.load("test/requester/0", guest("requester"), capabilities=rights)
        self.assertEqual(requester.call("send far/a/0 x"), b"ok")
        self.assertEqual(requester.call("send far/b/0 x"), denied("messaging.send", "far/b/0"))
        reply = requester.call("request far/a/0 1000 x")
        self.assertEqual(reply, denied("messaging.request", "far/a/0"))
        self.assertEqual(asked, ["far/a/0"])

    def test_components_do_not_share_rights(self):
        granted = self.requester(capabilities=RIGHTS)
        other = self.the_engine.load("test/requester/1", guest("requester"))
        self.assertEqual(granted.call(f"send {ECHO} x"), b"ok")
        self.assertEqual(other.call(f"send {ECHO} x"), denied("messaging.send", ECHO))
        # Not even those of a component with the same id.
        same = self.requester()
        self.assertEqual(same.call(f"send {ECHO} x"), denied("messaging.send", ECHO))
        self.assertEqual(granted.call(f"send {ECHO} x"), b"ok")

    def test_instances_share_their_rights(self):
        requester = self.requester(instances=3)
        requester.grant({"messaging": {"send": [ECHO]}})
        for _ in range(6):
            self.assertEqual(requester.call(f"send {ECHO} x"), b"ok")
        requester.revoke()
        for _ in range(6):
            self.assertEqual(requester.call(f"send {ECHO} x"), denied("messaging.send", ECHO))


class Storages(Rights):
    def test_each_action_for_itself(self):
        commands = {"read": "get k", "write": "set k v", "delete": "delete k"}
        for granted in commands:
            with self.user(capabilities={"storage": [granted]}) as user:
                for action, command in commands.items():
                    with self.subTest(granted=granted, action=action):
                        expected = storage_denied(f"storage.{action}")
                        reply = user.call(command)
                        self.assertEqual(reply == expected, action != granted, reply)

    def test_namespaces(self):
        for pattern, allowed in {
            OWN: True,
            "test/*/*": True,
            "**": True,
            "test/user/1": False,
            "test/user": False,
            "test": None,
        }.items():
            with self.subTest(pattern):
                rights = {"storage": {"write": [pattern]}}
                if allowed is None:
                    with self.assertRaises(InvalidOptions) as caught:
                        self.user(capabilities=rights)
                    self.assertIn("can match no storage namespace", str(caught.exception))
                    continue
                with self.user(capabilities=rights) as user:
                    expected = b"ok" if allowed else storage_denied("storage.write")
                    self.assertEqual(user.call("set k v"), expected)


class Spelling(Rights):
    def test_forms(self):
        """One right in every form."""
        for rights in (
            {"messaging": {"send": [ECHO]}},
            {"messaging": {"send": ECHO}},
            {"messaging": [{"action": "send", "target-pattern": ECHO}]},
            {"messaging": ({"action": "send", "target_pattern": ECHO},)},
            [{"messaging": {"send": [ECHO]}}],
            [{"storage": ["read"]}, {"messaging": {"send": [ECHO]}}],
            iter([{"messaging": {"send": [ECHO]}}]),
        ):
            with self.subTest(repr(rights)):
                with self.requester(capabilities=rights) as requester:
                    self.assertEqual(requester.call(f"send {ECHO} x"), b"ok")

    def test_errors_say_where(self):
        for rights, expected in (
            ({"message": {}}, 'capabilities: unknown key "message", did you mean "messaging"?'),
            (
                {"messaging": {"send": ["a/b"]}},
                'messaging.send[0]: "a/b" can match no component id',
            ),
            ({"storage": ["list"]}, 'capabilities.storage[0]: "list" is not allowed'),
            ([{}, {"storage": 5}], "capabilities[1].storage: an object expected, a number found"),
            (
                {"expires_in_ms": 1, "expires-at-ms": 1},
                "expires-at-ms and expires-in-ms exclude each other",
            ),
            ({"expires_in_ms": -1}, "capabilities.expires-in-ms: -1 is not allowed"),
            (
                {"filesystem": {"/no/such/dir": ["read"]}},
                "/no/such/dir: No such file or directory",
            ),
            ({"network": {"outbound": ["10.0.0.0/99"]}}, "is neither a host name"),
        ):
            with self.subTest(expected):
                with self.assertRaises(InvalidOptions) as caught:
                    self.requester(capabilities=rights)
                self.assertIn(expected, caught.exception.message)
                self.assertRegex(caught.exception.detail["place"], r"^options\.capabilities")
        with self.assertRaises(InvalidOptions) as caught:
            Engine(capabilities={"nonsense": 1})
        self.assertEqual(caught.exception.detail["place"], "config.capabilities")

    def test_types(self):
        for wrong in ("storage", ["storage"], 5, [5]):
            with self.subTest(repr(wrong)), self.assertRaises(TypeError):
                self.requester(capabilities=wrong)
        requester = self.requester()
        for change in (requester.grant, requester.revoke):
            for wrong in ("storage", [], [{}], 5):
                with self.subTest(repr(wrong)), self.assertRaises(TypeError):
                    change(wrong)
        with self.assertRaises(InvalidOptions):
            self.requester(capabilities={}, options={"capabilities": {}})

    def test_file_names_are_not_rewritten(self):
        # `_` is not turned into `-` in them, unlike in option names.
        directory = self.directory() / "with_underscore"
        directory.mkdir()
        rights = {"filesystem": {directory: {"actions": ["read"], "guest_path": "/in_side"}}}
        requester = self.requester(capabilities=rights)
        self.assertTrue(requester.explain("filesystem.read", f"{directory}/x").allowed)


class Defaults(EngineTest):
    def test_those_of_the_engine(self):
        engine = Engine(capabilities={"storage": ["write"]})
        self.addCleanup(engine.close)
        user = engine.load(OWN, guest("storage-user"))
        self.assertEqual(user.call("set k v"), b"ok")
        self.assertEqual(user.call("get k"), storage_denied("storage.read"))

    def test_a_load_replaces_them(self):
        engine = self.bare_engine(capabilities={"storage": ["write"]})
        other = engine.load(OWN, guest("storage-user"), capabilities={"storage": ["read"]})
        self.assertEqual(other.call("set k v"), storage_denied("storage.write"))
        self.assertIsNone(other.call("get k"))
        none = engine.load(OWN, guest("storage-user"), capabilities={})
        self.assertEqual(none.call("set k v"), storage_denied("storage.write"))

    def test_their_expiry_counts_from_each_load(self):
        engine = self.bare_engine(capabilities={"storage": ["read"], "expires_in_ms": 3_600_000})
        for _ in range(2):
            before = time.time()
            user = engine.load(OWN, guest("storage-user"))
            after = time.time()
            until = user.explain("storage.read", OWN).until
            self.assertLess(before + 3600 - CLOCKS, until)
            self.assertLess(until, after + 3600 + CLOCKS)
            self.eventually(lambda after=after: time.time() > after + 2 * CLOCKS)

    def test_an_engine_without_them_grants_nothing(self):
        engine = Engine()
        self.addCleanup(engine.close)
        user = engine.load(OWN, guest("storage-user"))
        self.assertEqual(user.call("set k v"), storage_denied("storage.write"))


class Changes(Rights):
    """Granting and revoking while a component runs."""

    def test_grant(self):
        requester = self.requester()
        requester.grant({"messaging": {"send": ["test/**"]}})
        self.assertEqual(requester.call(f"send {ECHO} x"), b"ok")
        requester.grant({"storage": ["read"]})
        self.assertEqual(requester.call(f"send {ECHO} x"), b"ok")
        self.assertEqual(requester.call("send other/a/0 x"), denied("messaging.send", "other/a/0"))

    def test_grant_while_it_handles_a_message(self):
        def hook(operation, namespace, key):
            if operation == "get":
                user.grant({"storage": ["write"]})

        engine = self.bare_engine(storage=Hooked(hook))
        user = engine.load(OWN, guest("storage-user"), capabilities={"storage": ["read"]})
        # It reads, then it writes.
        self.assertEqual(user.call("incr n"), b"1")

    def test_revoke_while_it_handles_a_message(self):
        def hook(operation, namespace, key):
            if operation == "get":
                user.revoke({"storage": ["write"]})

        engine = self.bare_engine(storage=Hooked(hook))
        user = engine.load(OWN, guest("storage-user"), capabilities={"storage": ["read", "write"]})
        self.assertEqual(user.call("incr n"), storage_denied("storage.write"))

    def test_revoke(self):
        requester = self.requester(
            capabilities={"messaging": {"send": [ECHO, "b/*/*"], "request": ["**"]}}
        )
        self.assertEqual(requester.call(f"send {ECHO} x"), b"ok")
        requester.revoke({"messaging": {"send": [ECHO]}})
        self.assertEqual(requester.call(f"send {ECHO} x"), denied("messaging.send", ECHO))
        self.assertEqual(requester.call("send b/c/d x"), b"error: target-not-found(b/c/d)")
        requester.revoke()
        self.assertEqual(requester.call("send b/c/d x"), denied("messaging.send", "b/c/d"))
        self.assertEqual(requester.describe()["grants"], [])
        # Revoking nothing succeeds.
        requester.revoke()
        requester.grant({"messaging": {"send": [ECHO]}})
        self.assertEqual(requester.call(f"send {ECHO} x"), b"ok")

    def test_revoke_by_another_form_or_time(self):
        requester = self.requester(
            capabilities={"messaging": {"send": [ECHO]}, "expires_in_ms": 3_600_000}
        )
        requester.revoke({"messaging": [{"action": "send", "target_pattern": ECHO}]})
        self.assertEqual(requester.describe()["grants"], [])

    def test_revoking_what_is_not_held_changes_nothing(self):
        rights = {"messaging": {"send": [ECHO]}, "storage": ["read"]}
        requester = self.requester(capabilities=rights)
        held = requester.describe()["grants"]
        for wrong, action, pattern in (
            # Patterns are compared as text: a part of a pattern is another pattern.
            ({"messaging": {"send": ["**"]}}, "messaging.send", "**"),
            ({"messaging": {"request": [ECHO]}}, "messaging.request", ECHO),
            ({"storage": ["read", "delete"]}, "storage.delete", "own namespace"),
            ({"messaging": {"send": [ECHO, "x/y/z"]}}, "messaging.send", "x/y/z"),
            ({"filesystem": {"/gone": ["read"]}}, "filesystem.read", "/gone"),
        ):
            with self.subTest(wrong):
                with self.assertRaises(InvalidOptions) as caught:
                    requester.revoke(wrong)
                detail = {"component": requester.id, "action": action, "pattern": pattern}
                self.assertEqual(caught.exception.detail, detail)
                self.assertEqual(requester.describe()["grants"], held)
        self.assertEqual(requester.call(f"send {ECHO} x"), b"ok")

    def test_a_grant_that_is_malformed_changes_nothing(self):
        requester = self.requester(capabilities={"messaging": {"send": [ECHO]}})
        held = requester.describe()["grants"]
        for wrong in (
            {"storage": ["read"], "messaging": {"send": ["a"]}},
            {"storage": ["read", "list"]},
            {"storage": ["read"], "unknown": 1},
        ):
            with self.subTest(wrong), self.assertRaises(InvalidOptions):
                requester.grant(wrong)
            self.assertEqual(requester.describe()["grants"], held)

    def test_mail_that_was_accepted_is_delivered(self):
        gate = Gate()
        engine = self.bare_engine(storage=gate)
        self.addCleanup(gate.open)
        user = engine.load(
            OWN,
            guest("storage-user"),
            limits=Gate.LIMITS,
            capabilities={"storage": ["read", "write"]},
        )
        rights = {"messaging": {"send": [OWN], "request": [OWN]}}
        requester = engine.load("test/requester/0", guest("requester"), capabilities=rights)
        user.send("set gate v")
        gate.wait_for_arrival()
        requester.call(f"send {OWN} set k v")
        requester.call(f"request {OWN} 60000 get k")
        requester.revoke()
        gate.open()
        [callback] = self.eventually(lambda: json.loads(requester.call("callbacks")))
        self.assertEqual(callback["payload"], "v")

    def test_unloaded_and_closed(self):
        requester = self.requester()
        uses = (
            lambda: requester.grant({}),
            lambda: requester.revoke({}),
            requester.revoke,
            lambda: requester.explain("storage.read", "a/b/c"),
        )
        for end, error in (
            (requester.unload, ComponentNotFound),
            (self.the_engine.shutdown, EngineStopped),
            (self.the_engine.close, EngineClosed),
        ):
            end()
            for use in uses:
                with self.assertRaises((error, ComponentNotFound)):
                    use()


class Explanations(Rights):
    def test_grants(self):
        rights = [
            {"messaging": {"send": ["test/*/*"]}, "storage": ["read"]},
            {"messaging": {"request": [ECHO]}, "expires_at_ms": 4_000_000_000_000},
        ]
        requester = self.requester(capabilities=rights)
        for action, resource, expected in (
            ("messaging.send", ECHO, Explanation(True, "grant", "grant test/*/*")),
            # The target need not exist.
            ("messaging.send", "test/x/y", Explanation(True, "grant", "grant test/*/*")),
            ("messaging.send", "other/x/y", NOT_GRANTED),
            ("messaging.request", ECHO, Explanation(True, "grant", f"grant {ECHO}", 4e9)),
            ("messaging.request", "test/x/y", NOT_GRANTED),
            ("directory.list", "test/x/y", Explanation(True, "grant", "grant test/*/*")),
            ("storage.read", requester.id, Explanation(True, "grant", "grant own namespace")),
            ("storage.read", "test/other/0", NOT_GRANTED),
            ("storage.write", requester.id, NOT_GRANTED),
            ("filesystem.read", "/etc/passwd", NOT_GRANTED),
            ("network.outbound", "example.com:443", NOT_GRANTED),
        ):
            with self.subTest(action=action, resource=resource):
                self.assertEqual(requester.explain(action, resource), expected)

    def test_what_needs_no_grant(self):
        requester = self.requester()
        for action in ("clock.read", "log.write", "random.read", "environment.read"):
            explained = requester.explain(action)
            self.assertEqual(explained, Explanation(True, "ambient", "open to every component"))
        self.assertTrue(requester.explain("messaging.cancel", "00000000000000ff").allowed)

    def test_the_longest_grant_counts(self):
        hour = {"storage": ["read"], "expires_in_ms": 3_600_000}
        for rights, limited in (
            ([hour, {"storage": {"read": ["**"]}}], False),
            ([hour, {"storage": {"read": ["**"]}, "expires_in_ms": 1000}], True),
        ):
            with self.user(capabilities=rights) as user:
                until = user.explain("storage.read", OWN).until
                self.assertEqual(until is not None, limited)
                if limited:
                    self.assertGreater(until, time.time() + 60)

    def test_arguments(self):
        requester = self.requester()
        with self.assertRaises(InvalidOptions) as caught:
            requester.explain("storage.list", requester.id)
        self.assertIn('"storage.list" is not allowed', caught.exception.message)
        for unknown in ("", "*", "storage.*", "storage"):
            with self.assertRaises(InvalidOptions):
                requester.explain(unknown, requester.id)
        with self.assertRaises(InvalidArgument):
            requester.explain("storage.read", "a\0b")
        with self.assertRaises(TypeError):
            requester.explain("storage.read", 5)


class Expiry(Rights):
    def check_expires(self, component, grants, command, granted, refused):
        """Expects that the right holds until its expiry and not after it."""
        until = time.time() + 0.3
        component.grant({**grants, "expires_at_ms": round(until * 1000)})
        while True:
            began = time.time()
            reply = component.call(command)
            if reply != granted:
                break
            self.assertLess(began, until + CLOCKS)
            time.sleep(0.001)
        self.assertGreater(time.time(), until - CLOCKS)
        self.assertEqual(reply, refused)
        self.assertEqual(component.call(command), refused)

    def test_storage(self):
        user = self.user()
        refused = storage_denied("storage.write")
        self.check_expires(user, {"storage": ["write"]}, "set k v", b"ok", refused)
        self.assertEqual(user.explain("storage.write", OWN), NOT_GRANTED)

    def test_messages(self):
        requester = self.requester()
        rights = {"messaging": {"send": [ECHO]}}
        refused = denied("messaging.send", ECHO)
        self.check_expires(requester, rights, f"send {ECHO} x", b"ok", refused)
        self.assertEqual(requester.call("list"), b"")

    def test_one_grant_and_not_another(self):
        user = self.user(capabilities={"storage": ["read"], "expires_in_ms": 3_600_000})
        refused = storage_denied("storage.write")
        self.check_expires(user, {"storage": ["write"]}, "set k v", b"ok", refused)
        self.assertIn(user.call("get k"), (b"v", None))

    def test_time_since_the_load(self):
        rights = [{"storage": ["read"]}, {"storage": ["write"], "expires_in_ms": 50}]
        user = self.user(capabilities=rights)
        refused = storage_denied("storage.write")
        self.eventually(lambda: user.call("set k v") == refused)
        self.assertNotEqual(user.call("get k"), storage_denied("storage.read"))

    def test_a_time_that_is_over(self):
        for rights in ({"expires_at_ms": 1}, {"expires_in_ms": 0}):
            with self.user(capabilities={"storage": ["write"], **rights}) as user:
                self.assertEqual(user.call("set k v"), storage_denied("storage.write"))

    def test_another_time_for_the_same_grant(self):
        user = self.user(capabilities={"storage": ["write"], "expires_in_ms": 3_600_000})
        user.grant({"storage": ["write"]})
        self.assertIsNone(user.explain("storage.write", OWN).until)
        self.assertEqual(user.call("set k v"), b"ok")
        user.grant({"storage": ["write"], "expires_at_ms": 1})
        self.assertEqual(user.call("set k v"), storage_denied("storage.write"))
        user.grant({"storage": ["write"], "expires_at_ms": 4_000_000_000_000})
        self.assertEqual(user.explain("storage.write", OWN).until, 4e9)
        self.assertEqual(user.call("set k v"), b"ok")


if __name__ == "__main__":
    unittest.main()
