"""Full mailboxes, broadcasts, pools and declared codecs."""

import json
import threading
import unittest
from concurrent.futures import ThreadPoolExecutor, wait

from support import PATIENCE, USER, EngineTest, Hooked, guest

from airssys_wasm import (
    ComponentNotFound,
    DeliveryFailed,
    DictStorage,
    EngineClosed,
    Envelope,
    InvalidArgument,
    InvalidId,
    InvalidMessage,
    InvalidOptions,
    QueueFull,
    Status,
    Trap,
    WouldDeadlock,
    codec,
)


class WhenFull(EngineTest):
    def test_options(self):
        engine = self.engine()
        for number, options in enumerate(
            (
                {"when_full": "block", "mailbox": {"capacity": 7, "max_bytes": 99}},
                {"mailbox": {"capacity": 7, "max-bytes": 99, "when_full": "block"}},
                {"options": {"mailbox": {"capacity": 7, "max-bytes": 99, "when-full": "block"}}},
            )
        ):
            with self.subTest(options):
                echo = engine.load(f"test/echo/{number}", guest("echo"), **options)
                self.assertEqual(
                    echo.describe()["mailbox"],
                    {"capacity": 7, "max-bytes": 99, "when-full": "block", "depth": 0, "bytes": 0, "waiting": 0},
                )
        default = engine.load("test/echo/9", guest("echo")).describe()["mailbox"]
        self.assertEqual(default["when-full"], "reject")
        with self.assertRaises(InvalidOptions) as caught:
            engine.load("test/echo/0", guest("echo"), when_full="drop")
        self.assertIn("drop-oldest", caught.exception.message)
        with self.assertRaises(InvalidOptions):
            engine.load("test/echo/0", guest("echo"), when_full="block", mailbox={"when_full": 1})
        with self.assertRaises(InvalidOptions):
            engine.load("test/echo/0", guest("echo"), when_full="block", options={"mailbox": {}})

    def test_reject(self):
        gate, user, busy = self.held_up(mailbox={"capacity": 2}, when_full="reject")
        accepted = [user.request("set k 1"), user.request("set k 2")]
        for use in (user.send, user.request, user.call):
            with self.subTest(use.__name__), self.assertRaises(QueueFull) as caught:
                use("set k 3")
            self.assertEqual(caught.exception.detail["capacity"], 2)
        gate.open()
        self.assertEqual([one.result(PATIENCE) for one in accepted], [b"ok", b"ok"])
        self.assertEqual(user.call("get k"), b"2")

    def test_bytes_count_too(self):
        gate, user, busy = self.held_up(mailbox={"max_bytes": 10_000})
        user.send(b"set k " + bytes(8_000))
        with self.assertRaises(QueueFull) as caught:
            user.send(b"set k " + bytes(8_000))
        self.assertEqual(caught.exception.detail["max-bytes"], 10_000)

    def test_block_waits_for_room(self):
        gate, user, busy = self.held_up(mailbox={"capacity": 1}, when_full="block")
        user.send("set k 0")
        # There is no room, and none becomes free.
        for use in (user.send, user.request):
            with self.subTest(use.__name__), self.assertRaises(QueueFull):
                use("set k never", timeout=0.01)
        with ThreadPoolExecutor(3) as pool:
            waiting = [
                pool.submit(user.send, "incr a"),
                pool.submit(lambda: user.request("incr a").result(PATIENCE)),
                pool.submit(user.call, "incr a", timeout=PATIENCE),
            ]
            gate.open()
            self.assertEqual(wait(waiting, PATIENCE).not_done, set())
        self.assertEqual(user.call("get a"), b"3")
        self.assertEqual(user.call("get k"), b"0")

    def test_block_ends_with_the_component(self):
        gate, user, busy = self.held_up(mailbox={"capacity": 1}, when_full="block")
        user.send("set k 0")
        with ThreadPoolExecutor(2) as pool:
            waiting = pool.submit(user.send, "set k 1")
            unloading = pool.submit(user.unload)
            with self.assertRaises(ComponentNotFound):
                waiting.result(PATIENCE)
            gate.open()
            unloading.result(PATIENCE)

    def test_block_in_a_callback_of_the_same_component(self):
        caught = []

        def hook(operation, namespace, key):
            if key != "outer":
                return
            user.send("set k 1")
            for use in (user.send, user.request):
                with self.assertRaises(WouldDeadlock) as error:
                    use("set k 2")
                caught.append(error.exception.detail)

        user = self.engine(storage=Hooked(hook)).load(
            USER, guest("storage-user"), mailbox={"capacity": 1}, when_full="block"
        )
        self.assertEqual(user.call("set outer v"), b"ok")
        self.assertEqual(caught, [{"component": USER}] * 2)
        self.assertEqual(user.call("get k"), b"1")

    def test_components_that_send_wait_too(self):
        engine = self.engine()
        receiver = engine.load(
            "test/receiver/0", guest("requester"), mailbox={"capacity": 1}, when_full="block"
        )
        senders = [engine.load(f"test/sender/{n}", guest("requester")) for n in range(4)]
        for n in range(50):
            for sender in senders:
                sender.send(f"send test/receiver/0 note {sender.id}:{n}")
        self.eventually(lambda: len(json.loads(receiver.call("received"))) == 200)
        notes = json.loads(receiver.call("received"))
        for sender in senders:
            mine = [note for note in notes if note.startswith(sender.id)]
            self.assertEqual(mine, [f"{sender.id}:{n}" for n in range(50)])

    def test_drop_oldest(self):
        gate, user, busy = self.held_up(mailbox={"capacity": 2}, when_full="drop-oldest")
        made = [user.request(f"incr {n}") for n in range(5)]
        for dropped in made[:3]:
            with self.assertRaises(QueueFull) as caught:
                dropped.result(PATIENCE)
            self.assertEqual(caught.exception.detail["capacity"], 2)
        self.assertFalse(any(one.done() for one in made[3:]))
        gate.open()
        self.assertEqual([one.result(PATIENCE) for one in made[3:]], [b"1", b"1"])
        self.assertEqual(busy.result(PATIENCE), b"ok")
        self.assertEqual(user.call("list"), b"3\n4\ngate")


class Broadcast(EngineTest):
    def test_all_get_it(self):
        engine = self.engine(name="tests")
        all_of_them = [engine.load(f"test/r/{n}", guest("requester")) for n in range(10)]
        engine.broadcast(all_of_them, "note hello")
        engine.broadcast(iter(all_of_them), bytearray(b"note again"), sender="a/b/c")
        engine.broadcast([], "note nobody")
        for component in all_of_them:
            self.assertEqual(json.loads(component.call("received")), ["hello", "again"])
        # Once per mention.
        engine.broadcast([all_of_them[0]] * 3, "note 3")
        self.assertEqual(json.loads(all_of_them[0].call("received"))[2:], ["3"] * 3)

    def test_some_do_not(self):
        gate, full, _ = self.held_up(mailbox={"capacity": 1})
        full.send("get k")
        engine = full.engine
        gone = engine.load("test/gone/0", guest("requester"))
        gone.unload()
        picky = engine.load("test/picky/0", guest("requester"), codecs=["json"])
        fine = [engine.load(f"test/fine/{n}", guest("requester")) for n in range(2)]
        payload = codec.prefix("cbor", b"")
        with self.assertRaises(DeliveryFailed) as caught:
            engine.broadcast([fine[0], gone, full, picky, fine[1]], payload)
        error = caught.exception
        self.assertEqual([component for component, _ in error.failed], [gone, full, picky])
        self.assertEqual(
            [type(reason) for _, reason in error.failed],
            [ComponentNotFound, QueueFull, InvalidMessage],
        )
        self.assertIs(error.failed[1][1].status, Status.QUEUE_FULL)
        for component, reason in error.failed[1:]:
            self.assertIn(component.id, reason.message)
        self.assertIn("3 of 5", error.message)
        self.assertEqual(
            [component.describe()["messages"]["accepted"] for component in fine], [1, 1]
        )

    def test_room_is_waited_for_together(self):
        gate, first, _ = self.held_up(mailbox={"capacity": 1}, when_full="block")
        second = first.engine.load("test/echo/0", guest("echo"))
        first.send("get k")
        with self.assertRaises(DeliveryFailed) as caught:
            first.engine.broadcast([first, second], "get k", timeout=0.01)
        [(component, reason)] = caught.exception.failed
        self.assertEqual((component, type(reason)), (first, QueueFull))
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(first.engine.broadcast, [first, second], "set k v")
            gate.open()
            waiting.result(PATIENCE)
        self.assertEqual(first.call("get k"), b"v")

    def test_refused(self):
        engine, other = self.engine(), self.engine()
        echo = engine.load("test/echo/0", guest("echo"))
        with self.assertRaises(InvalidArgument):
            other.broadcast([echo], "x")
        with self.assertRaises(InvalidId):
            engine.broadcast([echo], "x", sender="nobody")
        with self.assertRaises(TypeError):
            engine.broadcast([echo], None)
        with self.assertRaisesRegex(TypeError, "Component, not int"):
            engine.broadcast([echo, 5], "x")
        engine.close()
        with self.assertRaises(EngineClosed):
            engine.broadcast([echo], "x")


class Pools(EngineTest):
    INSTANCES = 4

    def pool(self, name, engine=None, **options):
        engine = engine or self.engine()
        options.setdefault("limits", {"max_execution_time_ms": 3_600_000})
        return engine.load(f"test/{name}/0", guest(name), instances=self.INSTANCES, **options)

    def test_options(self):
        echo = self.pool("echo")
        self.assertEqual(echo.describe()["instances"], self.INSTANCES)
        self.assertEqual(echo.engine.stats()["per-component"][0]["instances"], self.INSTANCES)
        self.assertEqual(echo.engine.components(), [echo])
        self.assertEqual(self.load("echo").describe()["instances"], 1)
        for instances in (0, -1, 4097, 1.5, "2"):
            with self.subTest(instances), self.assertRaises(InvalidOptions) as caught:
                self.engine().load("test/echo/0", guest("echo"), instances=instances)
            self.assertIn("instances", caught.exception.message)

    def check_all_work_at_once(self, start, **options):
        # No callback returns before all have started.
        meeting = threading.Barrier(self.INSTANCES, timeout=PATIENCE)

        def meet(entry):
            if entry.component == "test/chatty/0":
                meeting.wait()

        for _ in range(5):
            # A new pool each time: an instance that has just replied may not count as idle yet.
            chatty = self.pool("chatty", self.engine(logger=meet, **options))
            self.assertEqual(start(chatty), [b"ok"] * self.INSTANCES)
        self.assertFalse(meeting.broken)

    def test_calls_run_at_once(self):
        def start(chatty):
            with ThreadPoolExecutor(self.INSTANCES) as pool:
                return list(pool.map(chatty.call, ["log info x"] * self.INSTANCES))

        self.check_all_work_at_once(start)

    def test_requests_run_at_once(self):
        def start(chatty):
            made = [chatty.request("log info x") for _ in range(self.INSTANCES)]
            return [one.result(PATIENCE) for one in made]

        self.check_all_work_at_once(start)

    def test_requests_run_at_once_on_one_worker(self):
        def start(chatty):
            made = [chatty.request("log info x") for _ in range(self.INSTANCES)]
            return [one.result(PATIENCE) for one in made]

        self.check_all_work_at_once(start, workers=1)

    def test_storage_is_shared_and_memory_is_not(self):
        storage = DictStorage()
        user = self.pool("storage-user", self.engine(storage=storage))
        for n in range(20):
            user.send(f"set {n} v")
        user.engine.shutdown()
        self.assertEqual(len(list(storage.list(user.id, ""))), 20)

        counter = self.pool("counter")
        made = [counter.request("inc") for _ in range(100)]
        counts = [int(one.result(PATIENCE)) for one in made]
        # How many instances have counted this far. Each counts from 1 without gaps.
        reached = [counts.count(n) for n in range(1, max(counts) + 1)]
        self.assertEqual(reached, sorted(reached, reverse=True))
        self.assertLessEqual(reached[0], self.INSTANCES)

    def test_a_trap_ends_one_instance(self):
        engine = self.engine()
        trapper = self.pool("trapper", engine)
        with self.assertRaises(Trap):
            trapper.call("unreachable")
        made = [trapper.request("ok") for _ in range(20)]
        self.assertEqual({one.result(PATIENCE) for one in made}, {b"ok"})

    def test_a_broadcast_counts_a_pool_once(self):
        echo = self.pool("echo")
        echo.engine.broadcast([echo], "x")
        self.assertEqual(echo.describe()["messages"]["accepted"], 1)

    def test_unload(self):
        echo = self.pool("echo")
        echo.unload()
        with self.assertRaises(ComponentNotFound):
            echo.call("x")
        self.assertEqual(echo.engine.components(), [])


class Codecs(EngineTest):
    def picky(self, **options):
        return self.load("echo", codecs=("json", "cbor"), **options)

    def test_what_is_taken(self):
        echo = self.picky()
        self.assertEqual(echo.describe()["codecs"], ["cbor", "json"])
        for payload in (
            codec.prefix("json", "{}"),
            codec.prefix("cbor", b"\xa0"),
            # A payload without a prefix.
            b"",
            b"{}",
            b"text",
        ):
            with self.subTest(payload):
                self.assertEqual(echo.call(payload), payload)
                self.assertEqual(echo.request(payload).result(PATIENCE), payload)

    def test_what_is_refused(self):
        echo = self.picky()
        payload = codec.prefix("messagepack", b"\x80")
        envelope = Envelope("a/b/c", echo.id, payload, request=True)
        for name, use in (
            ("call", lambda: echo.call(payload)),
            ("send", lambda: echo.send(payload)),
            ("request", lambda: echo.request(payload)),
            ("deliver", lambda: echo.engine.deliver(envelope)),
        ):
            with self.subTest(name), self.assertRaises(InvalidMessage) as caught:
                use()
            error = caught.exception
            for part in (echo.id, "messagepack", "json", "cbor"):
                self.assertIn(part, error.message)
            self.assertEqual(error.detail["codec"], "messagepack")
            self.assertEqual(sorted(error.detail["accepted"]), ["cbor", "json"])
        with self.assertRaises(DeliveryFailed) as caught:
            echo.engine.broadcast([echo], payload)
        self.assertIn("messagepack", caught.exception.failed[0][1].message)
        self.assertEqual(echo.describe()["messages"]["handled"], 0)

    def test_between_components(self):
        engine = self.engine()
        engine.load("test/echo/0", guest("echo"), codecs=["json"])
        sender = engine.load("test/sender/0", guest("requester"))
        reply = sender.call(b"send test/echo/0 " + codec.prefix("cbor", b"\xa0"))
        self.assertIn(b"invalid-message", reply)
        for part in (b"cbor", b"json", b"test/echo/0"):
            self.assertIn(part, reply)
        self.assertEqual(sender.call(b"send test/echo/0 " + codec.prefix("json", "1")), b"ok")

    def test_unknown_names(self):
        with self.assertRaises(InvalidOptions) as caught:
            self.load("echo", codecs=["jsn"])
        self.assertIn("jsn", caught.exception.message)
        self.assertIn("json", caught.exception.message)
        with self.assertRaises(TypeError):
            self.load("echo", codecs="json")
        self.assertEqual(self.load("echo", codecs=[]).describe()["codecs"], [])


if __name__ == "__main__":
    unittest.main()
