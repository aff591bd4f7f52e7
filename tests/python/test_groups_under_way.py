"""What happens to a group while its restart is under way: calls of the host, waits, other groups."""

import threading
import unittest

from support import PATIENCE, Gate, guest
from test_groups import GroupTest

from airssys_wasm import AirssysError, DictStorage, ShutdownFailed, WouldDeadlock

#: Restarts follow after the test.
LONG_PAUSE = {"backoff": {"growth": "fixed", "first_ms": 3_600_000, "max_ms": 3_600_000}}

#: A message may run for the whole test.
LIMITS = {"max_execution_time_ms": 3_600_000, "max_fuel": None}


class UnderWay(GroupTest):
    def held_group(self, strategy="one-for-all", **options):
        """A group whose restart waits for the last member, which is busy until the gate opens."""
        self.gate = Gate()
        self.events = []
        engine = self.engine(storage=self.gate, events=self.events.append)
        self.addCleanup(self.gate.open)
        group = engine.add_group("g", strategy=strategy, **options)
        a, b = self.members(group, "ab")
        user = self.member(group, "user", "storage-user", limits=Gate.LIMITS)
        self.busy = user.request("set gate v")
        self.gate.wait_for_arrival()
        return group, a, b, user

    def over(self, group):
        """Ends the message of the last member, and waits until the group has restarted."""
        self.gate.open()
        self.assertEqual(self.busy.result(PATIENCE), b"ok")
        self.wait_until_over(group)


class HostComesFirst(UnderWay):
    def test_a_crash_of_a_member_that_the_host_took_out(self):
        """Its loss is another one: nobody else restarts it."""

        def stop_and_start(component):
            component.stop()
            component.start()

        uses = [
            ("restart", lambda component: component.restart()),
            ("stop and start", stop_and_start),
            ("replace", lambda component: component.replace(guest("trapper"))),
        ]
        for name, use in uses:
            with self.subTest(name):
                group, a, b, _ = self.held_group()
                self.crash(a)
                use(b)
                self.assertEqual(b.call("ok"), b"ok")
                self.crash(b)
                self.over(group)
                for member in (a, b):
                    member.wait("running", timeout=PATIENCE)

    def test_a_restart_with_a_timeout_does_not_concern_the_others(self):
        engine = self.engine()
        group = engine.add_group("g", strategy="one-for-all")
        a = self.member(group, "a", limits=LIMITS)
        b = self.member(group, "b")
        loops = a.request("loop")
        self.eventually(lambda: a.describe()["mailbox"]["depth"] == 0)
        a.restart(timeout=0)
        self.assertIsNotNone(loops.exception(PATIENCE))
        self.assertEqual(a.call("ok"), b"ok")
        self.wait_until_over(group)
        self.assertEqual(self.restarts(a, b), [1, 0])
        self.assertEqual(group.status()["restarts"], 0)

    def test_a_start_while_the_group_gives_up(self):
        group, a, _, user = self.held_group(max_restarts=0)
        self.crash(a)
        start = self.in_thread(group.start)
        self.gate.open()
        self.busy.result(PATIENCE)
        self.assertIsNone(start())
        # The group has given up, and the start came before its members failed: they restart.
        for member in (a, user):
            member.wait("running", timeout=PATIENCE)
        self.eventually(lambda: group.status()["state"] == "running")

    def test_a_wait_while_a_member_is_unloaded(self):
        engine = self.engine()
        group = engine.add_group("g")
        a, b = self.members(group, "ab")
        wait = self.in_thread(group.wait, "stopped", timeout=PATIENCE)
        a.stop()
        a.unload()
        b.stop()
        self.assertIsNone(wait())


class Pauses(UnderWay):
    def test_a_member_that_is_due_for_recycling(self):
        group, a, _, _ = self.held_group()
        # Behind the other members, and so the first to end.
        due = self.member(group, "due", recycle_after_messages=1, limits=LIMITS)
        sleeps = due.request("sleep 50")
        self.eventually(lambda: due.describe()["mailbox"]["depth"] == 0)
        self.crash(a)
        sleeps.result(PATIENCE)
        self.over(group)
        due.wait("running", timeout=PATIENCE)

    def test_a_pause_of_one_group_does_not_hold_up_another(self):
        engine = self.engine()
        engine.add_group("top")
        paused = engine.add_group("paused", strategy="one-for-all", group="top")
        other = engine.add_group("other", strategy="one-for-all", group="top")
        a = self.member(paused, "a", supervision=LONG_PAUSE)
        b, c = self.members(other, "bc")
        self.crash(a)
        self.eventually(lambda: paused.status()["state"] == "restarting")
        self.crash(b)
        for member in (b, c):
            self.assertEqual(member.request("ok", timeout=PATIENCE).result(), b"ok")

    def test_a_message_that_needs_a_member_that_pauses(self):
        """A callback for one member calls another one, which waits for the first."""
        for caller, called in [("first", "last"), ("last", "first")]:
            with self.subTest(caller):
                self.check_call_from_callback(caller, called)

    def check_call_from_callback(self, caller, called):
        came, crashed, outcome = threading.Event(), threading.Event(), []

        class Calling(DictStorage):
            def set(self, namespace, key, value):
                came.set()
                if not crashed.wait(PATIENCE):
                    raise TimeoutError("nobody crashed")
                try:
                    outcome.append(members[called].call("get k", timeout=PATIENCE))
                except AirssysError as error:
                    outcome.append(error)

        engine = self.engine(storage=Calling())
        group = engine.add_group("g", strategy="one-for-all")
        members = {
            name: self.member(group, name, "storage-user", limits=Gate.LIMITS)
            for name in ("first", "last")
        }
        crashing = self.member(group, "crashing")
        busy = members[caller].request("set k v")
        self.assertTrue(came.wait(PATIENCE))
        self.crash(crashing)
        crashed.set()
        self.assertEqual(busy.result(PATIENCE), b"ok")
        self.assertTrue(outcome[0] is None or isinstance(outcome[0], WouldDeadlock), outcome[0])


class Several(GroupTest):
    def test_a_start_of_all_components_starts_groups(self):
        engine = self.engine()
        group = engine.add_group("g", strategy="one-for-all", max_restarts=0)
        a, b = self.members(group, "ab")
        self.crash(a)
        for member in (a, b):
            member.wait("failed", timeout=PATIENCE)
        engine.start_all()
        self.assertEqual(group.status()["state"], "running")

    def test_errors_of_several_members(self):
        engine = self.engine()
        group = engine.add_group("g")
        members = [
            self.member(group, name, "probe", env={"SHUTDOWN_FAIL": f"{name} stays"})
            for name in "ab"
        ]
        with self.assertRaises(ShutdownFailed) as caught:
            group.stop()
        failed = caught.exception.detail["failed"]
        self.assertEqual(
            {entry["handle"] for entry in failed}, {member.handle for member in members}
        )


if __name__ == "__main__":
    unittest.main()
