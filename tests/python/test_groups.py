"""Groups of components."""

import unittest

from support import PATIENCE, EngineTest, Gate, guest

from airssys_wasm import (
    Component,
    ComponentFailed,
    ComponentNotFound,
    ComponentStopped,
    EngineClosed,
    EngineStopped,
    Group,
    InvalidArgument,
    InvalidOptions,
    ShutdownFailed,
    Timeout,
    Trap,
)

#: Restarts follow at once, as many as a test needs.
NO_PAUSE = {"max_restarts": 100, "backoff": {"growth": "none"}}


class GroupTest(EngineTest):
    def member(self, group, name, guest_name="trapper", **options):
        options = {"supervision": NO_PAUSE, **options}
        return group.engine.load(f"app/{name}/0", guest(guest_name), group=group, **options)

    def members(self, group, names):
        return [self.member(group, name) for name in names]

    def crash(self, component):
        with self.assertRaises(Trap):
            component.call("unreachable")

    def restarts(self, *components):
        return [component.status()["instances"][0]["restarts"] for component in components]

    def wait_for_restarts(self, components, expected):
        self.eventually(lambda: self.restarts(*components) == expected)
        for component in components:
            component.wait("running", timeout=PATIENCE)

    def wait_until_over(self, group):
        self.eventually(lambda: group.status()["state"] == "running")


class Restarts(GroupTest):
    def test_strategies(self):
        for strategy, expected in [
            ("one-for-one", [0, 1, 0]),
            ("one-for-all", [1, 1, 1]),
            ("rest-for-one", [0, 1, 1]),
        ]:
            with self.subTest(strategy):
                engine = self.engine()
                group = engine.add_group("g", strategy=strategy)
                members = self.members(group, "abc")
                alone = engine.load("app/alone/0", guest("trapper"))
                self.crash(members[1])
                self.wait_for_restarts([*members, alone], [*expected, 0])
                self.wait_until_over(group)

    def test_one_for_one_is_the_default(self):
        status = self.engine().add_group("g").status()
        del status["handle"]
        self.assertEqual(
            status,
            {
                "group": "g",
                "state": "running",
                "strategy": "one-for-one",
                "max-restarts": 10,
                "window-ms": 60_000,
                "restarts": 0,
                "restarts-in-window": 0,
                "within": None,
                "members": [],
            },
        )

    def test_waiting_mail_is_kept(self):
        gate = Gate()
        engine = self.engine(storage=gate)
        self.addCleanup(gate.open)
        group = engine.add_group("g", strategy="one-for-all")
        crashing = self.member(group, "crashing")
        user = self.member(group, "user", "storage-user", limits=Gate.LIMITS)
        busy = user.request("set gate v")
        gate.wait_for_arrival()
        self.crash(crashing)
        # The restart waits for the message under way, and all other messages for the restart.
        waiting = [crashing.request("ok"), user.request("get gate")]
        self.assertEqual(group.status()["state"], "restarting")
        gate.open()
        self.assertEqual(busy.result(PATIENCE), b"ok")
        self.assertEqual([made.result(PATIENCE) for made in waiting], [b"ok", b"v"])
        self.wait_for_restarts([crashing, user], [1, 1])

    def test_a_group_that_gives_up(self):
        group = self.engine().add_group("g", strategy="rest-for-one", max_restarts=1, window=3600)
        a, b, c = self.members(group, "abc")
        self.crash(b)
        self.wait_for_restarts([a, b, c], [0, 1, 1])
        self.wait_until_over(group)
        self.crash(b)
        for failed in (b, c):
            failed.wait("failed", timeout=PATIENCE)
            with self.assertRaises(ComponentFailed):
                failed.call("ok")
        self.assertEqual(a.call("ok"), b"ok")
        status = group.status()
        self.assertEqual((status["state"], status["restarts"]), ("failed", 1))

        group.start()
        group.wait("running", timeout=0)
        self.assertEqual(c.call("ok"), b"ok")
        status = group.status()
        self.assertEqual((status["state"], status["restarts-in-window"]), ("running", 0))

    def test_no_limit(self):
        group = self.engine().add_group("g", strategy="one-for-all", max_restarts=None)
        self.assertIsNone(group.status()["max-restarts"])
        a, b = self.members(group, "ab")
        for n in range(1, 13):
            self.crash(a)
            self.wait_for_restarts([a, b], [n, n])
            self.wait_until_over(group)

    def test_a_group_in_a_group(self):
        engine = self.engine()
        top = engine.add_group("top", strategy="rest-for-one")
        before = self.member(top, "before")
        inner = engine.add_group("inner", strategy="one-for-all", max_restarts=0, group=top)
        a, b = self.members(inner, "ab")
        after = self.member(top, "after")
        self.assertEqual(inner.status()["within"], "top")
        self.crash(b)
        self.wait_for_restarts([before, a, b, after], [0, 1, 1, 1])
        self.wait_until_over(inner)
        self.wait_until_over(top)
        self.assertEqual([top.status()["restarts"], inner.status()["restarts"]], [1, 0])

    def test_events(self):
        events = []
        engine = self.engine(events=events.append)
        group = engine.add_group("g", strategy="one-for-all")
        a, b = self.members(group, "ab")
        self.crash(a)

        def of_group():
            return [event for event in events if event.kind == "group"]

        self.eventually(lambda: len(of_group()) == 2)
        for event, expected in zip(
            of_group(),
            [
                {"from": "running", "to": "restarting", "component": "app/a/0"},
                {"from": "restarting", "to": "running", "component": None},
            ],
        ):
            self.assertEqual(set(event.data.pop("time")), {"seconds", "nanoseconds"})
            expected.update(event="group", group="g", handle=group.handle, restarts=1)
            self.assertEqual(event.data, expected)
        self.wait_for_restarts([b], [1])
        changes = [
            (event.data["to"], event.data["cause"])
            for event in events
            if event.kind == "state" and event.data["component"] == "app/b/0"
        ]
        expected = [("running", "loaded"), ("restarting", "group"), ("running", "restarted")]
        self.assertEqual(changes, expected)


class Handles(GroupTest):
    def test_members(self):
        engine = self.engine()
        outer = engine.add_group("outer")
        inner = engine.add_group("inner", group="outer")
        a = self.member(outer, "a")
        b = engine.load("app/b/0", guest("trapper"), group="inner", instances=2)
        alone = engine.load("app/alone/0", guest("trapper"))
        self.assertEqual(outer.members, [inner, a])
        self.assertEqual(inner.members, [b])
        self.assertEqual([type(member) for member in outer.members], [Group, Component])
        self.assertEqual(outer.members[1].id, "app/a/0")
        self.assertEqual(outer.members[0].members[0].call("ok"), b"ok")
        self.assertEqual(
            [component.status()["group"] for component in (a, b, alone)],
            ["outer", "inner", None],
        )
        # A member is supervised in any case.
        self.assertEqual(b.status()["supervision"]["restart"], "permanent")
        a.unload()
        self.assertEqual(outer.members, [inner])

    def test_groups_of_an_engine(self):
        engine = self.engine()
        self.assertEqual(engine.groups, {})
        second = engine.add_group("second")
        first = engine.add_group("first")
        self.assertEqual(list(engine.groups.items()), [("second", second), ("first", first)])
        found = engine.groups["first"]
        self.assertEqual((found, found.name, found.handle), (first, "first", first.handle))
        self.assertIs(found.engine, engine)
        self.assertEqual(len({first, found, second}), 2)
        self.assertNotEqual(first, self.engine().add_group("first"))
        self.assertEqual(repr(first), f"<Group first handle={first.handle}>")

    def test_stop_start_restart_wait(self):
        engine = self.engine()
        group = engine.add_group("g")
        group.wait("running", timeout=0)  # It has no members.
        inner = engine.add_group("inner", group=group)
        members = [self.member(group, "a", "counter"), self.member(inner, "b", "counter")]
        alone = engine.load("app/alone/0", guest("counter"))
        for member in (*members, alone):
            member.call("inc")
        group.restart(timeout=PATIENCE)
        self.assertEqual([member.call("get") for member in members], [b"0", b"0"])
        self.assertEqual(alone.call("get"), b"1")
        group.stop()
        group.wait("stopped", timeout=0)
        with self.assertRaises(Timeout):
            group.wait("running", timeout=0.01)
        for member in members:
            with self.assertRaises(ComponentStopped):
                member.call("get")
        with self.assertRaises(ComponentStopped):
            group.restart()
        group.start()
        group.wait("running", timeout=0)
        self.assertEqual(group.status()["restarts"], 0)

    def test_a_stop_that_fails_for_one(self):
        engine = self.engine()
        group = engine.add_group("g")
        self.member(group, "a", "probe", env={"SHUTDOWN_FAIL": "I stay"})
        self.member(group, "b", "counter")
        with self.assertRaises(ShutdownFailed) as caught:
            group.stop()
        self.assertIn("I stay", str(caught.exception))
        group.wait("stopped", timeout=0)

    def test_unload(self):
        engine = self.engine()
        group = engine.add_group("g")
        inner = engine.add_group("inner", group=group)
        members = [self.member(group, "a"), self.member(inner, "b")]
        alone = engine.load("app/alone/0", guest("trapper"))
        group.unload()
        group.unload(timeout=0)
        group.wait("unloaded", timeout=0)
        self.assertEqual((engine.groups, engine.components()), ({}, [alone]))
        for use in (members[0].status, members[1].status, group.status, inner.status, group.stop):
            with self.assertRaises(ComponentNotFound):
                use()
        with self.assertRaises(ComponentNotFound):
            _ = group.members
        with self.assertRaises(InvalidOptions):
            engine.load("app/a/0", guest("trapper"), group=group)
        self.assertNotEqual(engine.add_group("g"), group)

    def test_unload_with_a_timeout(self):
        group = self.engine().add_group("g")
        # Without a limit of its own.
        limits = {"max_execution_time_ms": 3_600_000, "max_fuel": None}
        looping = self.member(group, "looping", limits=limits)
        loops = looping.request("loop")
        self.eventually(lambda: looping.describe()["mailbox"]["depth"] == 0)
        with self.assertRaises(ShutdownFailed):
            group.unload(timeout=0)
        self.assertIsNotNone(loops.exception(PATIENCE))
        self.assertEqual(group.engine.groups, {})

    def test_an_engine_that_has_ended(self):
        engine = self.engine()
        group = engine.add_group("g")
        engine.shutdown()
        uses = [
            lambda: engine.add_group("h"),
            lambda: group.members,
            group.status,
            group.stop,
            group.start,
            group.restart,
        ]
        for use in uses:
            with self.assertRaises(EngineStopped):
                use()
        self.assertEqual(list(engine.groups), ["g"])
        engine.close()
        for use in [*uses, lambda: engine.groups]:
            with self.assertRaises(EngineClosed):
                use()
        group.unload()


class Refusals(GroupTest):
    def test_names(self):
        engine = self.engine()
        engine.add_group("g")
        for name, says in [
            ("", "the name is empty"),
            ("a/b", "'/'"),
            ("g", 'a group "g" exists'),
            ("..", "must not be"),
            ("x" * 256, "256 bytes"),
            ("a\0", "NUL"),
        ]:
            with self.assertRaises(InvalidArgument) as caught:
                engine.add_group(name)
            self.assertIn(says, str(caught.exception))
        self.assertEqual(list(engine.groups), ["g"])

    def test_options(self):
        engine = self.engine()
        for options, says in [
            ({"strategy": "all-for-one"}, "all-for-one"),
            ({"max_restarts": -1}, "max-restarts"),
            ({"max_restarts": 10_001}, "max-restarts"),
            ({"group": "nowhere"}, "nowhere"),
            ({"options": {"no-such": 1}}, "no-such"),
            ({"options": {"max-restarts": 1}, "max_restarts": None}, "given twice"),
            ({"options": {"max-restarts": 1}, "max_restarts": 1}, "given twice"),
        ]:
            with self.assertRaises(InvalidOptions) as caught:
                engine.add_group("g", **options)
            self.assertIn(says, str(caught.exception))
        for window in (0, -1, float("nan")):
            with self.assertRaises(InvalidArgument):
                engine.add_group("g", window=window)
        self.assertEqual(engine.groups, {})
        group = engine.add_group("g", window=0.25, options={"max-restarts": None})
        status = group.status()
        self.assertEqual((status["window-ms"], status["max-restarts"]), (250, None))

    def test_groups_that_cannot_be(self):
        engine, other = self.engine(), self.engine().add_group("g")
        uses = [
            lambda group: engine.load("app/a/0", guest("trapper"), group=group),
            lambda group: engine.add_group("h", group=group),
        ]
        for use in uses:
            with self.assertRaises(InvalidOptions) as caught:
                use("g")
            self.assertIn("options.group", str(caught.exception))
            with self.assertRaises(InvalidArgument) as caught:
                use(other)
            self.assertIn("another engine", str(caught.exception))
            with self.assertRaises(TypeError):
                use(7)
        self.assertEqual(engine.components(), [])


if __name__ == "__main__":
    unittest.main()
