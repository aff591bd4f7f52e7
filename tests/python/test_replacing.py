"""Replacements of running components by other versions, and rollbacks."""

import json
import threading
import unittest

from support import PATIENCE, USER, EngineTest, Gate, Hooked, guest

from airssys_wasm import (
    ComponentFailed,
    ComponentNotFound,
    ComponentStopped,
    DictStorage,
    EngineStopped,
    InitializationFailed,
    Interrupted,
    InvalidArgument,
    InvalidComponent,
    InvalidOptions,
    IoError,
    Status,
    Timeout,
    Trap,
    WouldDeadlock,
)

ID = "test/it/0"

#: The smallest core module.
CORE_MODULE = b"\0asm\1\0\0\0"

#: No limit ends these messages.
ENDLESS = {"max_execution_time_ms": 3_600_000, "max_fuel": None}


def failures():
    """Each way in which a replacement fails: binary, options, exception, and words of its message."""
    probe = guest("probe")
    binary = probe.read_bytes()
    return {
        "garbage": (b"garbage", {}, InvalidComponent, "header of a WebAssembly component"),
        "cut off": (binary[: len(binary) // 2], {}, InvalidComponent, "unexpected end"),
        "empty": (b"", {}, InvalidComponent, "it is empty"),
        "empty bytearray": (bytearray(), {}, InvalidComponent, "it is empty"),
        "empty view": (memoryview(b""), {}, InvalidComponent, "it is empty"),
        "core module": (CORE_MODULE, {}, InvalidComponent, "it is a core module"),
        "no life cycle": (guest("minimal"), {}, InvalidComponent, "the old version exports"),
        "refusal": (probe, {"env": {"REFUSE": "because"}}, InitializationFailed, "because"),
        "trap": (probe, {"env": {"TRAP_INIT": "1"}}, Trap, "initialize: wasm `unreachable`"),
        "health": (
            probe,
            {"env": {"HEALTH": "degraded"}, "health_gate": 0.02},
            Timeout,
            "degraded and not healthy within health-gate-ms 20",
        ),
    }


class ReplacingTest(EngineTest):
    def version(self, component):
        """The version of all instances of a component."""
        [version] = {one["version"] for one in component.status()["instances"]}
        self.assertEqual(component.describe()["version"], version)
        return version

    def configured(self, probe):
        """Environment and configuration of the guest `probe`."""
        shown = json.loads(probe.call("config"))
        return shown["env"], shown["config"]

    def replace_behind(self, component, *arguments, **options):
        """As :meth:`in_thread` a replacement that waits for the message under way."""
        depth = component.describe()["mailbox"]["depth"]
        replaced = self.in_thread(component.replace, *arguments, **options)
        self.eventually(lambda: component.describe()["mailbox"]["depth"] == depth + 1)
        return replaced


class TakingOver(ReplacingTest):
    def test_everything_but_the_instance_stays(self):
        engine = self.engine()
        mailbox, quotas = {"capacity": 7}, {"storage_keys": 9}
        it = engine.load(ID, guest("storage-user"), mailbox=mailbox, quotas=quotas)
        self.assertEqual(it.call("set key value"), b"ok")
        before, handle = it.describe(), it.handle
        self.assertEqual(self.version(it), 1)

        it.replace(guest("counter"))
        self.assertEqual([it.call("inc"), it.call("inc")], [b"1", b"2"])
        self.assertEqual((it.handle, engine.find(ID), engine.components()), (handle, it, [it]))
        after = it.describe()
        for kept in ("handle", "id", "limits", "quotas", "grants", "mailbox", "restarts"):
            self.assertEqual(after[kept], before[kept], kept)
        self.assertEqual(after["messages"]["handled"], before["messages"]["handled"] + 2)
        self.assertNotEqual(after["binary"]["blake3"], before["binary"]["blake3"])
        self.assertEqual((self.version(it), after["metadata"]["name"]), (2, "counter"))

        it.replace(guest("storage-user"))
        self.assertEqual((self.version(it), it.call("get key")), (3, b"value"))

    def test_a_binary_is_a_path_or_bytes(self):
        it = self.load("echo")
        path = guest("counter")
        binary = path.read_bytes()
        for wasm in (str(path), path, binary, bytearray(binary), memoryview(binary)):
            with self.subTest(type(wasm).__name__):
                it.replace(guest("echo"))
                it.replace(wasm)
                self.assertEqual(it.call("inc"), b"1")

    def test_without_a_binary_it_stays(self):
        it = self.load("counter")
        self.assertEqual(it.call("inc"), b"1")
        it.replace()
        self.assertEqual((it.call("get"), self.version(it)), (b"0", 2))
        self.assertEqual(it.describe()["restarts"], 0)

    def test_environment_and_configuration(self):
        it = self.load("probe", env={"A": "1"}, config="first")
        self.assertEqual(self.configured(it), ({"A": "1"}, "first"))
        for options, env, config in (
            ({}, {"A": "1"}, "first"),
            ({"env": {"B": "2", "C": "3"}}, {"B": "2", "C": "3"}, "first"),
            ({"config": {"n": [1]}}, {"B": "2", "C": "3"}, '{"n":[1]}'),
            ({"env": None}, {"B": "2", "C": "3"}, '{"n":[1]}'),
            ({"config": None}, {"B": "2", "C": "3"}, None),
            ({}, {"B": "2", "C": "3"}, None),
            ({"config": ""}, {"B": "2", "C": "3"}, ""),
            ({"env": {}, "config": False}, {}, "false"),
        ):
            with self.subTest(options):
                it.replace(**options)
                self.assertEqual(self.configured(it), (env, config))
        # A new instance is one of the current version.
        it.restart()
        self.assertEqual(self.configured(it), ({}, "false"))
        it.stop()
        it.start()
        self.assertEqual(self.configured(it), ({}, "false"))
        # Another binary gets the same.
        it.replace(guest("probe").read_bytes())
        self.assertEqual(self.configured(it), ({}, "false"))

    def test_the_old_instance_is_shut_down_once(self):
        entries = []
        engine = self.engine(logger=entries.append)
        it = engine.load(ID, guest("probe"), env={"SHUTDOWN_FAIL": "disk is gone"})
        # Its failure is no failure of the replacement.
        it.replace(env={})
        self.assertEqual(self.version(it), 2)
        [entry] = entries
        self.assertEqual(entry.component, ID)
        self.assertIn("disk is gone", entry.message)
        it.replace(guest("echo"))
        it.unload()
        self.assertEqual([entry.message for entry in entries[1:]], ["probe shut down"])

    def test_the_changes_are_events(self):
        events = []
        engine = self.engine(events=events.append)
        it = engine.load(ID, guest("echo"))
        it.replace(guest("counter"))
        it.rollback()
        it.unload()
        self.eventually(lambda: len(events) == 7)
        self.assertEqual(
            [(one.data["to"], one.data["cause"], one.data["version"]) for one in events],
            [
                ("running", "loaded", 1),
                ("replacing", "replace", 1),
                ("running", "replaced", 2),
                ("replacing", "replace", 2),
                ("running", "replaced", 1),
                ("unloading", "close", 1),
                ("unloaded", "end", 1),
            ],
        )
        self.assertEqual({one.data["restarts"] for one in events}, {0})

    def test_what_does_not_run_runs_again(self):
        engine = self.engine()
        supervisions = {
            "stopped": None,
            "failed": {"restart": "temporary"},
            "crashed": {"backoff": {"growth": "fixed", "first_ms": 3_600_000, "max_ms": 3_600_000}},
        }
        for state, supervision in supervisions.items():
            with self.subTest(state):
                it = engine.load(f"test/{state}/0", guest("trapper"), supervision=supervision)
                if state == "stopped":
                    it.stop()
                else:
                    with self.assertRaises(Trap):
                        it.call("unreachable")
                it.wait(state, timeout=PATIENCE)
                # Not with a version that does not work.
                with self.assertRaises(InitializationFailed):
                    it.replace(guest("probe"), env={"REFUSE": "because"})
                it.wait(state, timeout=0)
                it.replace(guest("echo"))
                it.wait("running", timeout=0)
                self.assertEqual(it.call("hello"), b"hello")

    def test_the_supervision_forgets_earlier_restarts(self):
        supervision = {"max_restarts": 1, "backoff": {"growth": "none"}}
        it = self.load("trapper", supervision=supervision)
        for _ in range(3):
            with self.assertRaises(Trap):
                it.call("unreachable")
            self.eventually(lambda: it.status()["instances"][0]["restarts-in-window"] == 1)
            it.replace()
            self.assertEqual(it.status()["instances"][0]["restarts-in-window"], 0)
        self.assertEqual(it.call("ok"), b"ok")

    def test_a_component_without_a_life_cycle(self):
        it = self.load("minimal")
        it.replace(guest("minimal"))
        self.assertEqual(self.version(it), 2)
        with self.assertRaisesRegex(InvalidComponent, "the new version exports"):
            it.replace(guest("echo"))
        self.assertEqual(self.version(it), 2)


class WaitingMail(ReplacingTest):
    def test_it_is_handled_by_the_new_version(self):
        gate, user, busy = self.held_up()
        before = [user.request(f"set before{n} v") for n in range(3)]
        replaced = self.replace_behind(user, guest("probe"))
        # The mailbox stays open.
        after = user.request("silent")
        gate.open()
        self.assertIsNone(replaced())
        self.assertEqual(busy.result(PATIENCE), b"ok")
        for made in before:
            self.assertRegex(str(made.exception(PATIENCE)), "unknown command: set")
        self.assertIsNone(after.result(PATIENCE))
        self.assertEqual(gate.list(USER, ""), ["gate"])

    def test_the_message_under_way_is_not_interrupted(self):
        gate, user, busy = self.held_up()
        with self.assertRaisesRegex(Timeout, "keeps version 1: .* timeout-ms 10$") as caught:
            user.replace(guest("echo"), timeout=0.01)
        detail = caught.exception.detail
        self.assertEqual((detail["version"], detail["limit"], detail["value"]), (1, "timeout-ms", 10))
        # Nothing is left behind.
        self.assertEqual(user.describe()["mailbox"]["depth"], 0)
        self.assertEqual(self.version(user), 1)
        gate.open()
        self.assertEqual(busy.result(PATIENCE), b"ok")
        self.assertEqual(user.call("get gate"), b"v")
        user.replace(guest("echo"), timeout=PATIENCE)
        self.assertEqual(user.call("hello"), b"hello")

    def test_an_interrupt_makes_room(self):
        it = self.load("trapper", limits=ENDLESS)
        running = it.request("loop")
        self.eventually(lambda: it.describe()["messages"]["accepted"] == 1)
        self.eventually(lambda: it.describe()["mailbox"]["depth"] == 0)
        replaced = self.replace_behind(it, guest("echo"))
        it.interrupt()
        self.assertIsNone(replaced())
        self.assertIsNotNone(running.exception(PATIENCE))
        self.assertEqual(it.call("hello"), b"hello")

    def test_a_component_that_fails_meanwhile_runs_again(self):
        it = self.load("trapper", limits=ENDLESS, supervision={"restart": "temporary"})
        running = it.request("loop")
        self.eventually(lambda: it.describe()["messages"]["accepted"] == 1)
        self.eventually(lambda: it.describe()["mailbox"]["depth"] == 0)
        behind = it.request("ok")
        replaced = self.replace_behind(it, guest("echo"))
        it.interrupt()
        self.assertIsNone(replaced())
        self.assertIsInstance(running.exception(PATIENCE), Interrupted)
        self.assertIsInstance(behind.exception(PATIENCE), ComponentFailed)
        it.wait("running", timeout=0)
        self.assertEqual(it.call("hello"), b"hello")

    def test_replacements_take_turns(self):
        it = self.load("counter", kept_versions=0)
        ends = [self.in_thread(it.replace, guest("counter")) for _ in range(8)]
        self.assertEqual([end() for end in ends], [None] * 8)
        self.assertEqual(self.version(it), 9)

    def test_an_unload_ends_a_replacement(self):
        gate, user, _busy = self.held_up()
        replaced = self.replace_behind(user, guest("echo"))
        unloaded = self.in_thread(user.unload)
        self.assertIsInstance(replaced(), ComponentNotFound)
        gate.open()
        self.assertIsNone(unloaded())
        for use in (user.replace, user.rollback):
            with self.assertRaises(ComponentNotFound):
                use()

    def test_the_end_of_the_engine_ends_a_replacement(self):
        it = self.load("trapper", limits=ENDLESS)
        it.send("loop")
        self.eventually(lambda: it.describe()["messages"]["accepted"] == 1)
        self.eventually(lambda: it.describe()["mailbox"]["depth"] == 0)
        replaced = self.replace_behind(it, guest("echo"))
        it.engine.close()
        self.assertIsInstance(replaced(), EngineStopped)

    def test_a_stopped_engine_replaces_nothing(self):
        it = self.load("echo")
        it.engine.shutdown(timeout=PATIENCE)
        for use in (it.replace, it.rollback):
            with self.assertRaises(EngineStopped):
                use()


class Failures(ReplacingTest):
    def test_the_old_instance_stays_as_it_was(self):
        events = []
        engine = self.engine(events=events.append)
        it = engine.load(ID, guest("counter"))
        for n, (name, (wasm, options, kind, words)) in enumerate(failures().items(), 1):
            with self.subTest(name):
                with self.assertRaisesRegex(kind, words) as caught:
                    it.replace(wasm, **options)
                self.assertIn(f"{ID} keeps version 1", caught.exception.message)
                self.assertEqual(caught.exception.detail["version"], 1)
                # Its memory, too.
                self.assertEqual(it.call("inc"), str(n).encode())
        self.assertEqual(self.version(it), 1)
        with self.assertRaises(InvalidArgument):
            it.rollback()
        # A version that works takes over, and all that happened is told.
        it.replace(guest("echo"))
        self.assertEqual(it.call("hello"), b"hello")
        self.eventually(lambda: len(events) == 3)
        self.assertEqual([one.data["to"] for one in events], ["running", "replacing", "running"])

    def test_the_error_says_what_the_health_was(self):
        it = self.load("echo")
        with self.assertRaises(Timeout) as caught:
            it.replace(guest("probe"), env={"HEALTH": "unhealthy"}, health_gate=0)
        self.assertEqual(caught.exception.detail["health"], "unhealthy")

    def test_a_health_gate(self):
        it = self.load("echo")
        it.replace(guest("probe"), health_gate=0)
        self.assertEqual(it.status()["health"], "healthy")
        # Without one, its health does not matter.
        it.replace(env={"HEALTH": "unhealthy"})
        self.assertEqual((it.status()["health"], self.version(it)), ("unhealthy", 3))

    def at_the_gate(self):
        """A replacement that waits for the health of its instance, as a function that ends it."""
        it = self.load("echo")
        options = {"env": {"HEALTH": "degraded"}, "health_gate": 3600}
        replaced = self.in_thread(it.replace, guest("probe"), **options)
        self.eventually(lambda: it.engine.stats()["binaries"] == 2)
        return it, replaced

    def test_an_unload_ends_a_health_gate(self):
        it, replaced = self.at_the_gate()
        it.unload()
        self.assertIsInstance(replaced(), ComponentNotFound)

    def test_the_end_of_the_engine_ends_a_health_gate(self):
        for end in ("shutdown", "close"):
            with self.subTest(end):
                it, replaced = self.at_the_gate()
                getattr(it.engine, end)(timeout=PATIENCE)
                self.assertIsInstance(replaced(), EngineStopped)

    def test_options(self):
        it = self.load("counter")
        self.assertEqual(it.call("inc"), b"1")
        for options, kind in (
            ({"env": {"A": 1}}, InvalidOptions),
            ({"timeout": -1}, InvalidArgument),
            ({"timeout": float("nan")}, InvalidArgument),
            ({"health_gate": -1}, InvalidArgument),
            ({"health_gate": float("inf")}, InvalidArgument),
            ({"config": float("nan")}, ValueError),
            ({"config": b"bytes"}, TypeError),
            ({"wasm": 5}, TypeError),
            ({"wasm": "a\0b"}, InvalidArgument),
        ):
            with self.subTest(options):
                with self.assertRaises(kind):
                    it.replace(**options)
        self.assertEqual((it.call("inc"), self.version(it)), (b"2", 1))

    def test_a_missing_file(self):
        it = self.load("echo")
        with self.assertRaisesRegex(IoError, "no-such-file.wasm"):
            it.replace("no-such-file.wasm")
        self.assertEqual(it.call("hello"), b"hello")


class Rollbacks(ReplacingTest):
    def test_version_after_version(self):
        it = self.load("probe", env={"V": "1"}, kept_versions=3)

        def found():
            return self.version(it), self.configured(it)[0]["V"]

        for n in range(2, 6):
            it.replace(env={"V": str(n)})
        self.assertEqual(found(), (5, "5"))
        it.rollback()
        self.assertEqual(found(), (4, "4"))
        # A replacement that fails changes nothing of that.
        with self.assertRaises(InvalidComponent):
            it.replace(b"garbage")
        with self.assertRaises(InitializationFailed):
            it.replace(env={"REFUSE": "because"})
        it.rollback()
        self.assertEqual(found(), (3, "3"))
        it.replace(env={"V": "9"})
        version, env = found()
        self.assertGreater(version, 5)
        self.assertEqual(env, "9")
        it.rollback()
        it.rollback()
        self.assertEqual(found(), (2, "2"))
        # The first one is one more than those that are kept.
        with self.assertRaisesRegex(InvalidArgument, "no earlier version") as caught:
            it.rollback()
        self.assertIs(caught.exception.status, Status.INVALID_ARGUMENT)
        self.assertEqual(found(), (2, "2"))

    def test_how_many_versions_are_kept(self):
        engine = self.engine()
        for options, kept in (({}, 2), ({"kept_versions": 0}, 0), ({"kept_versions": 1}, 1)):
            with self.subTest(options):
                it = engine.load(ID, guest("counter"), **options)
                for _ in range(4):
                    it.replace()
                for n in range(kept):
                    it.rollback()
                    self.assertEqual(self.version(it), 4 - n)
                with self.assertRaises(InvalidArgument):
                    it.rollback()

    def test_binaries(self):
        it = self.load("counter")
        self.assertEqual(it.call("inc"), b"1")
        it.replace(guest("echo"))
        it.rollback()
        # A new instance, not the old one.
        self.assertEqual(it.call("get"), b"0")
        self.assertEqual(it.describe()["metadata"]["name"], "counter")

    def test_a_rollback_that_fails(self):
        storage = DictStorage()
        engine = self.engine(storage=storage)
        it = engine.load(USER, guest("storage-user"), env={"REFUSES_IF": "locked"})
        it.replace(guest("echo"), env={})
        storage.set(USER, "locked", b"")
        with self.assertRaisesRegex(InitializationFailed, "keeps version 2: .*locked"):
            it.rollback()
        self.assertEqual((self.version(it), it.call("hello")), (2, b"hello"))
        storage.delete(USER, "locked")
        it.rollback()
        self.assertEqual((self.version(it), it.call("get key")), (1, None))

    def test_of_a_stopped_component(self):
        it = self.load("counter")
        it.replace(guest("echo"))
        it.stop()
        with self.assertRaises(ComponentStopped):
            it.call("get")
        it.rollback()
        self.assertEqual(it.call("get"), b"0")


class Pools(ReplacingTest):
    def versions(self, pool):
        return [one["version"] for one in pool.status()["instances"]]

    def test_all_instances_are_replaced(self):
        pool = self.load("counter", instances=3)
        pool.replace(guest("echo"))
        self.assertEqual(self.versions(pool), [2, 2, 2])
        made = [pool.request(f"{n}") for n in range(30)]
        self.assertEqual([one.result(PATIENCE) for one in made], [b"%d" % n for n in range(30)])
        pool.rollback()
        self.assertEqual(self.versions(pool), [1, 1, 1])
        self.assertEqual(pool.call("inc"), b"1")

    def test_all_or_none(self):
        """The third of three new instances refuses."""
        looks, events = [], []

        def hook(operation, namespace, key):
            if key == "locked":
                looks.append(key)
                if len(looks) == 3:
                    storage.set(namespace, "locked", b"")

        storage = Hooked(hook)
        storage.set = lambda *entry: DictStorage.set(storage, *entry)
        engine = self.engine(storage=storage, events=events.append)
        pool = engine.load(USER, guest("storage-user"), instances=3)
        with self.assertRaisesRegex(InitializationFailed, "keeps version 1: .*locked"):
            pool.replace(env={"REFUSES_IF": "locked"})
        self.assertEqual(self.versions(pool), [1, 1, 1])
        self.assertEqual(pool.describe()["version"], 1)
        self.assertEqual(pool.call("exists locked"), b"true")
        self.eventually(lambda: len(events) == 11)
        replaced = [one.data for one in events if one.data["cause"] == "replaced"]
        self.assertEqual(
            [(data["instance"], data["version"]) for data in replaced],
            [(0, 2), (1, 2), (0, 1), (1, 1)],
        )
        with self.assertRaises(InvalidArgument):
            pool.rollback()

    def test_a_busy_instance(self):
        gate, pool, busy = self.held_up(instances=2)
        with self.assertRaises(Timeout):
            pool.replace(guest("echo"), timeout=0.01)
        self.assertEqual(self.versions(pool), [1, 1])
        self.assertEqual(pool.call("get gate2"), None)
        replaced = self.replace_behind(pool, guest("echo"))
        gate.open()
        self.assertIsNone(replaced())
        self.assertEqual(busy.result(PATIENCE), b"ok")
        self.assertEqual([pool.call("hello") for _ in range(4)], [b"hello"] * 4)

class UnderLoad(ReplacingTest):
    def test_no_call_fails(self):
        it = self.load("counter")
        over = threading.Event()
        calls = [0] * 4

        def call(thread):
            while not over.is_set():
                int(it.call("inc"))
                made = it.request("inc")
                int(made.result(PATIENCE))
                calls[thread] += 2

        ends = [self.in_thread(call, thread) for thread in range(len(calls))]
        try:
            for _ in range(5):
                before = sum(calls)
                it.replace(guest("counter"))
                for wasm, options, kind, _ in failures().values():
                    with self.assertRaises(kind):
                        it.replace(wasm, **options)
                it.rollback()
                it.replace()
                self.eventually(lambda: sum(calls) > before)
        finally:
            over.set()
        self.assertEqual([end() for end in ends], [None] * len(calls))
        messages = it.describe()["messages"]
        self.assertEqual(messages["handled"], sum(calls))
        self.assertEqual(
            (messages["refused"], messages["dropped"], messages["failed"]), (0, 0, 0)
        )
        self.assertEqual(it.describe()["restarts"], 0)

    def test_no_call_of_a_pool_fails(self):
        pool = self.load("echo", instances=2)
        over = threading.Event()

        def call():
            while not over.is_set():
                if pool.call("hello") != b"hello":
                    raise AssertionError("another reply")

        ends = [self.in_thread(call) for _ in range(4)]
        try:
            for _ in range(10):
                handled = pool.describe()["messages"]["handled"]
                pool.replace(guest("echo"))
                pool.rollback()
                self.eventually(lambda: pool.describe()["messages"]["handled"] > handled)
        finally:
            over.set()
        self.assertEqual([end() for end in ends], [None] * 4)


class FromCallbacks(ReplacingTest):
    def test_of_the_component_itself(self):
        refused = []

        def log(entry):
            for use in (first.replace, lambda: first.replace(guest("echo")), first.rollback):
                try:
                    use()
                except WouldDeadlock as error:
                    refused.append(error)

        engine = self.engine(logger=log)
        first = engine.load("test/first/0", guest("chatty"))
        self.assertEqual(first.call("log info now"), b"ok")
        self.assertEqual(len(refused), 3)
        first.send("log info now")
        # When a later message is answered, the earlier one has ended.
        self.assertEqual(first.call("sleep 0"), b"ok")
        self.assertEqual(len(refused), 6)
        self.assertEqual(self.version(first), 1)

    def test_of_another_component(self):
        def log(entry):
            second.replace(guest("counter"))
            second.call("inc")
            second.replace(guest("echo"))
            second.rollback()

        engine = self.engine(logger=log)
        first = engine.load("test/first/0", guest("chatty"))
        second = engine.load("test/second/0", guest("echo"))
        self.assertEqual(first.call("log info now"), b"ok")
        self.assertEqual((second.call("inc"), self.version(second)), (b"1", 2))

    def test_while_the_host_replaces(self):
        """A replacement in a callback of another component waits for that of the host."""
        arrived, replies = threading.Event(), []

        def log(entry):
            arrived.set()
            user.replace(guest("echo"))
            replies.append(user.call("hello"))

        gate = Gate()
        engine = self.engine(storage=gate, logger=log)
        self.addCleanup(gate.open)
        first = engine.load("test/first/0", guest("chatty"), limits=Gate.LIMITS)
        user = engine.load(USER, guest("storage-user"), limits=Gate.LIMITS)
        user.send("set gate v")
        gate.wait_for_arrival()
        replaced = self.replace_behind(user, guest("counter"))
        called = self.in_thread(first.call, "log info now")
        self.assertTrue(arrived.wait(PATIENCE))
        gate.open()
        self.assertEqual([replaced(), called()], [None, None])
        self.assertEqual((replies, self.version(user)), ([b"hello"], 3))

    def test_in_a_circle(self):
        """The replacement waits for a message whose callback calls the component that replaces."""
        refused = []

        def log(entry):
            if entry.component == first.id:
                second.replace(guest("echo"))

        def hook(operation, namespace, key):
            if key == "circle":
                try:
                    first.call("log info now")
                except WouldDeadlock as error:
                    refused.append(error)

        engine = self.engine(logger=log, storage=Hooked(hook))
        first = engine.load("test/first/0", guest("chatty"))
        second = engine.load(USER, guest("storage-user"))
        # The reply is another matter: the log callback fails, and that is logged.
        with self.assertLogs("airssys_wasm", "ERROR") as logged:
            self.assertEqual(second.call("set circle v"), b"ok")
        self.assertIn("WouldDeadlock", logged.output[0])
        self.assertEqual(refused, [])
        self.assertEqual(self.version(second), 1)
        # The other way round.
        self.assertEqual(first.call("log info now"), b"ok")
        self.assertEqual(self.version(second), 2)

    def test_in_the_initialize_of_the_new_version(self):
        refused, replies = [], []

        def hook(operation, namespace, key):
            if key == "key":
                for use in (user.replace, user.rollback):
                    try:
                        use()
                    except WouldDeadlock as error:
                        refused.append(error)
                # The old instance still handles messages.
                replies.append(user.call("exists other"))
                other.replace(guest("counter"))

        engine = self.engine(storage=Hooked(hook))
        user = engine.load(USER, guest("storage-user"))
        other = engine.load("test/other/0", guest("echo"))
        user.replace(env={"REFUSES_IF": "key"})
        self.assertEqual((len(refused), replies), (2, [b"false"]))
        self.assertEqual((self.version(user), self.version(other)), (2, 2))

    def test_in_the_shutdown_of_the_old_version(self):
        refused, replies = [], []

        def log(entry):
            if entry.message == "probe shut down":
                try:
                    probe.replace(guest("echo"))
                except WouldDeadlock as error:
                    refused.append(error)
                replies.append(probe.call("inc"))

        engine = self.engine(logger=log)
        probe = engine.load(ID, guest("probe"))
        probe.replace(guest("counter"))
        self.assertEqual((len(refused), replies), (1, [b"1"]))

    def test_of_an_event(self):
        replaced = threading.Event()

        def on_event(event):
            if event.kind == "state" and event.data["to"] == "crashed":
                it.replace(guest("echo"))
                replaced.set()

        it = self.engine(events=on_event).load(ID, guest("trapper"))
        with self.assertRaises(Trap):
            it.call("unreachable")
        self.assertTrue(replaced.wait(PATIENCE))
        self.assertEqual(it.call("hello"), b"hello")


if __name__ == "__main__":
    unittest.main()
