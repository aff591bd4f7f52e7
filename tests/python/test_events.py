"""Events of an engine."""

import dataclasses
import gc
import threading
import time
import unittest
import weakref

from support import PATIENCE, USER, EngineTest, Gate, guest

from airssys_wasm import Engine, Event, QueueFull, WouldDeadlock


class Events(EngineTest):
    def dropping(self, events, **options):
        """A blocked component that drops its oldest mail."""
        return self.held_up({"events": events}, when_full="drop-oldest", **options)

    def test_mail_that_made_room(self):
        events = []
        gate, user, _ = self.dropping(events.append, mailbox={"capacity": 1})
        before = time.time()
        user.send(b"set k \0\xff", sender="a/b/c", content_type="text/plain")
        made = user.request("")
        user.send("set k last")
        self.eventually(lambda: len(events) == 2)
        after = time.time()
        with self.assertRaises(QueueFull):
            made.result(PATIENCE)
        first, second = events
        self.assertEqual(first.kind, "dead-letter")
        self.assertEqual(first.payload, b"set k \0\xff")
        data = dict(first.data)
        when = data.pop("time")
        self.assertLess(before - 0.1, when["seconds"] + when["nanoseconds"] / 1e9)
        self.assertLess(when["seconds"] + when["nanoseconds"] / 1e9, after + 0.1)
        self.assertIn("drop-oldest", data.pop("reason"))
        self.assertEqual(
            data,
            {
                "event": "dead-letter",
                "component": USER,
                "source": "a/b/c",
                "correlation": None,
                "content-type": "text/plain",
                "payload-bytes": 8,
                "code": "queue-full",
            },
        )
        self.assertEqual(second.payload, b"")
        self.assertEqual(int(second.data["correlation"], 16), made.request_id)
        self.assertEqual(user.engine.stats()["dead-letters"], 2)

    def test_mail_of_a_component_that_is_unloaded(self):
        events = []
        gate, user, busy = self.held_up({"events": events.append})
        for n in range(20):
            user.send(f"set k {n}")
        unloading = threading.Thread(target=user.unload)
        unloading.start()
        self.eventually(lambda: len(events) == 20)
        gate.open()
        unloading.join(PATIENCE)
        self.assertEqual(busy.result(PATIENCE), b"ok")
        self.assertEqual([event.payload for event in events], [b"set k %d" % n for n in range(20)])
        self.assertEqual({event.data["code"] for event in events}, {"target-not-found"})

    def test_mail_of_an_engine_that_is_closed(self):
        events = []
        gate, user, busy = self.held_up({"events": events.append})
        for n in range(20):
            user.send(f"set k {n}")
        closing = threading.Thread(target=user.engine.close)
        closing.start()
        self.eventually(lambda: user.engine.closed)
        gate.open()
        closing.join(PATIENCE)
        # Reported before `close` returns. The running message is no dead letter.
        self.assertEqual([event.payload for event in events], [b"set k %d" % n for n in range(20)])

    def test_one_at_a_time_and_in_order(self):
        order = []
        inside = threading.Lock()

        def take(event):
            self.assertTrue(inside.acquire(blocking=False))
            order.append(event.payload)
            inside.release()

        gate, user, _ = self.dropping(take, mailbox={"capacity": 1})
        for n in range(1000):
            user.send(f"set k {n}")
        self.eventually(lambda: len(order) == 999)
        self.assertEqual(order, [b"set k %d" % n for n in range(999)])

    def test_a_callback_that_is_too_slow(self):
        events = []
        first, go_on = threading.Event(), threading.Event()

        def take(event):
            events.append(event)
            first.set()
            go_on.wait(PATIENCE)

        gate, user, _ = self.dropping(take, mailbox={"capacity": 1})
        user.send("0")
        user.send("1")
        self.assertTrue(first.wait(PATIENCE))
        for n in range(2, 10_500):
            user.send(str(n))
        stats = user.engine.stats()
        self.assertEqual(stats["dead-letters"], 10_499)
        lost = stats["events-lost"]
        self.assertGreater(lost, 0)
        go_on.set()
        self.eventually(lambda: events[-1].kind == "events-lost")
        self.assertEqual(events[-1], Event("events-lost", {"event": "events-lost", "count": lost}))
        kept = [event.payload for event in events[:-1]]
        self.assertEqual(kept, [str(n).encode() for n in range(10_499 - lost)])

    def test_a_callback_that_raises(self):
        def broken(event):
            raise ZeroDivisionError("in the callback")

        with self.assertLogs("airssys_wasm", "ERROR") as logged:
            gate, user, _ = self.dropping(broken, mailbox={"capacity": 1})
            made = [user.request("get k") for n in range(3)]
            self.eventually(lambda: len(logged.records) == 2)
        self.assertIn("in the callback", logged.output[0])
        gate.open()
        self.assertIsNone(made[2].result(PATIENCE))

    def test_a_callback_that_uses_the_engine(self):
        seen = []

        def use(event):
            seen.append(echo.call(event.payload))
            seen.append(echo.request("request").result(PATIENCE))
            for end in (user.engine.close, user.engine.shutdown):
                with self.assertRaises(WouldDeadlock):
                    end()
            seen.append("end")

        gate, user, _ = self.dropping(use, mailbox={"capacity": 1})
        echo = user.engine.load("test/echo/0", guest("echo"))
        user.send("dropped")
        user.send("kept")
        self.eventually(lambda: len(seen) == 3)
        self.assertEqual(seen, [b"dropped", b"request", "end"])
        # The rest is handled, so closing makes no dead letters.
        gate.open()
        user.engine.shutdown()

    def test_arguments(self):
        with self.assertRaises(TypeError):
            Engine(events=5)
        event = Event("kind", {})
        with self.assertRaises(dataclasses.FrozenInstanceError):
            event.kind = "other"

    def test_lifetime(self):
        class Sink:
            def __call__(self, event):
                pass

        sink = Sink()
        reference = weakref.ref(sink)
        engine = self.engine(events=sink)
        del sink
        gc.collect()
        self.assertIsNotNone(reference())
        engine.close()
        gc.collect()
        self.assertIsNone(reference())
        sink = Sink()
        reference = weakref.ref(sink)
        with self.assertRaises(ValueError):
            Engine(events=sink, workers=0)
        with self.assertRaises(TypeError):
            Engine(events=sink, storage=Gate(), router=5)
        del sink
        gc.collect()
        self.assertIsNone(reference())


if __name__ == "__main__":
    unittest.main()
