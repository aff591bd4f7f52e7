"""Engines of one process, joined by routers in Python."""

import dataclasses
import gc
import json
import threading
import time
import unittest
import weakref
from concurrent.futures import ThreadPoolExecutor

from support import PATIENCE, USER, EngineTest, Gate, guest

from airssys_wasm import (
    AirssysError,
    Cancelled,
    ComponentError,
    ComponentNotFound,
    DeliveryFailed,
    Engine,
    EngineClosed,
    EngineStopped,
    Envelope,
    InvalidArgument,
    InvalidId,
    InvalidMessage,
    QueueFull,
    RequestNotFound,
    Router,
    Timeout,
    Trap,
)

#: The content type of a callback without a reply.
ERROR = "application/vnd.airssys.error+json"

SENDER = "test/sender/0"


class Recorder:
    """A router that records its mail and runs a hook of the test."""

    def __init__(self, do=None):
        self.envelopes = []
        self.cancelled = []
        self.do = do

    def route(self, envelope):
        self.envelopes.append(envelope)
        if self.do is not None:
            self.do(envelope)

    def cancel(self, token):
        self.cancelled.append(token)


class Bridge:
    """Carries mail from one engine of this process to another."""

    def __init__(self):
        self.home = None
        self.other = None
        self.open = {}

    def route(self, envelope):
        made = self.other.deliver(envelope)
        if made is not None:
            self.open[envelope.token] = made
            made.add_done_callback(lambda made: self._answer(envelope.token, made))

    def _answer(self, token, made):
        self.open.pop(token, None)
        try:
            error = made.exception()
        except Cancelled:
            return
        try:
            self.home.complete(token, None if error else made.result(), error)
        except (RequestNotFound, EngineClosed):
            pass

    def cancel(self, token):
        made = self.open.get(token)
        if made is not None:
            made.cancel()


class RouterTest(EngineTest):
    def sender(self, router, **options):
        return self.engine(router=router, **options).load(SENDER, guest("requester"))

    def callbacks(self, sender, count):
        """The callbacks of a component, once there are this many."""

        def look():
            return json.loads(sender.call("callbacks"))

        self.eventually(lambda: len(look()) >= count)
        found = look()
        self.assertEqual(len(found), count)
        return found

    def outcome(self, sender):
        """The outcome of a component's only request: a reply or a code."""
        [callback] = self.callbacks(sender, 1)
        if callback["content-type"] == ERROR:
            return json.loads(callback["payload"])
        self.assertIsNone(callback["content-type"])
        return callback["payload"]


class Routing(RouterTest):
    def test_a_message(self):
        router = Recorder()
        sender = self.sender(router)
        self.assertEqual(sender.call(b"send app/far/0 \0\xff"), b"ok")
        self.assertEqual(router.envelopes, [Envelope(SENDER, "app/far/0", b"\0\xff")])
        sender.call("send app/far/0 ")
        self.assertEqual(router.envelopes[1], Envelope(SENDER, "app/far/0"))
        self.assertEqual(sender.describe()["messages"]["sent"], 2)

    def test_a_request(self):
        router = Recorder()
        sender = self.sender(router)
        before = time.time()
        correlation = sender.call("request app/far/0 60000 how many?").decode()
        after = time.time()
        [envelope] = router.envelopes
        self.assertEqual(
            dataclasses.replace(envelope, deadline=None, token=None),
            Envelope(
                SENDER,
                "app/far/0",
                b"how many?",
                request=True,
                correlation=int(correlation, 16),
            ),
        )
        self.assertGreater(envelope.token, 0)
        # In whole milliseconds.
        self.assertLessEqual(before + 60 - 0.002, envelope.deadline)
        self.assertLessEqual(envelope.deadline, after + 60.001)

        sender.engine.complete(envelope.token, "four")
        [callback] = self.callbacks(sender, 1)
        self.assertEqual(
            callback,
            {
                "correlation": correlation,
                "content-type": None,
                "sender": "app/far/0",
                "payload": "four",
            },
        )
        self.assertEqual(router.cancelled, [])

    def test_mail_for_loaded_components_is_not_routed(self):
        router = Recorder()
        sender = self.sender(router)
        with sender.engine.load("test/echo/0", guest("echo")):
            self.assertEqual(sender.call("send test/echo/0 x"), b"ok")
            self.assertEqual(router.envelopes, [])
        self.assertEqual(sender.call("send test/echo/0 x"), b"ok")
        self.assertEqual(len(router.envelopes), 1)

    def test_the_host_is_not_routed(self):
        router = Recorder()
        sender = self.sender(router)
        sender.unload()
        with self.assertRaises(ComponentNotFound):
            sender.call("self")
        self.assertEqual(router.envelopes, [])

    def test_order(self):
        router = Recorder()
        sender = self.sender(router)
        for n in range(200):
            sender.send(f"send app/far/0 {n}")
        sender.engine.shutdown()
        self.assertEqual([e.payload for e in router.envelopes], [b"%d" % n for n in range(200)])

    def test_a_broadcast(self):
        router = Recorder()
        sender = self.sender(router)
        self.assertEqual(sender.call(f"broadcast app/a/0,{SENDER},app/b/0 note x"), b"ok")
        self.assertEqual([e.target for e in router.envelopes], ["app/a/0", "app/b/0"])

    def test_refusals(self):
        self.current = None

        def refuse(envelope):
            raise self.current

        sender = self.sender(Recorder(refuse), host_error_texts=True)
        for error, expected in (
            (ComponentNotFound("x"), "target-not-found(app/far/0)"),
            (QueueFull("x"), "queue-full"),
            (InvalidMessage("no such codec"), "invalid-message(no such codec)"),
            (DeliveryFailed("the line is cut"), "delivery-failed(the line is cut)"),
            (EngineStopped("größe"), "delivery-failed(größe)"),
            (AirssysError("new", 99), "delivery-failed(new)"),
            (AirssysError("odd", 0), "delivery-failed(odd)"),
        ):
            for command in ("send app/far/0 x", "request app/far/0 60000 x"):
                with self.subTest((error, command)):
                    self.current = error
                    self.assertEqual(sender.call(command).decode(), f"error: {expected}")
        self.assertEqual(sender.engine.stats()["requests"]["outstanding"], 0)
        self.assertEqual(json.loads(sender.call("callbacks")), [])

    def test_error_texts_of_the_host_stay_with_it(self):
        def refuse(envelope):
            raise self.current

        entries = []
        sender = self.sender(Recorder(refuse), logger=entries.append)
        for error in (DeliveryFailed("the password is x"), ConnectionError("the password is x")):
            with self.subTest(type(error).__name__):
                self.current = error
                reply = sender.call("send app/far/0 x").decode()
                self.assertEqual(reply, "error: delivery-failed(the host's router failed)")
                entry = entries.pop()
                self.assertIsNone(entry.component)
                self.assertIn("the password is x", entry.message)

    def test_other_exceptions(self):
        class Unprintable(Exception):
            def __str__(self):
                raise ZeroDivisionError

        self.current = None

        def refuse(envelope):
            raise self.current

        sender = self.sender(Recorder(refuse), host_error_texts=True)
        for error, expected in (
            (ConnectionError("the line is cut"), "ConnectionError: the line is cut"),
            (ValueError("lone \ud800"), "ValueError: lone ?"),
            (Unprintable(), ""),
        ):
            with self.subTest(type(error).__name__):
                self.current = error
                with self.assertLogs("airssys_wasm", "ERROR") as logged:
                    reply = sender.call("send app/far/0 x").decode()
                self.assertIn("error: delivery-failed(", reply)
                self.assertIn(expected, reply)
                self.assertIn("Traceback", logged.output[0])

    def test_an_interrupt_reaches_the_caller(self):
        def interrupt(envelope):
            raise KeyboardInterrupt

        sender = self.sender(Recorder(interrupt))
        with self.assertRaises(KeyboardInterrupt):
            sender.call("send app/far/0 x")
        self.assertEqual(sender.call("self"), SENDER.encode())

    def test_a_slow_router_delays_its_sender_only(self):
        inside, go_on = threading.Event(), threading.Event()

        def wait(envelope):
            inside.set()
            go_on.wait(PATIENCE)

        sender = self.sender(Recorder(wait), workers=1)
        other = sender.engine.load("test/other/0", guest("requester"))
        self.addCleanup(go_on.set)
        made = sender.request("send app/far/0 x")
        self.assertTrue(inside.wait(PATIENCE))
        self.assertEqual(other.request("self").result(PATIENCE), b"test/other/0")
        self.assertFalse(made.done())
        go_on.set()
        self.assertEqual(made.result(PATIENCE), b"ok")

    def test_arguments(self):
        with self.assertRaisesRegex(TypeError, "route"):
            Engine(router=object())
        self.assertIsInstance(Recorder(), Router)
        self.assertNotIsInstance(object(), Router)

    def test_lifetime(self):
        router = Recorder()
        reference = weakref.ref(router)
        sender = self.sender(router)
        del router
        gc.collect()
        self.assertIsNotNone(reference())
        sender.engine.close()
        gc.collect()
        self.assertIsNone(reference())


class Completing(RouterTest):
    def setUp(self):
        self.router = Recorder()
        self.requester = self.sender(self.router)
        self.made = self.requester.engine

    def ask(self, timeout_ms=60_000):
        self.requester.call(f"request app/far/0 {timeout_ms} x")
        return self.router.envelopes[-1].token

    def test_replies(self):
        for reply, expected in (
            (b"reply", "reply"),
            ("größe", "größe"),
            (bytearray(b"buffer"), "buffer"),
            (b"", ""),
            (bytearray(), ""),
            (None, ""),
        ):
            with self.subTest(reply):
                sender = self.sender(self.router)
                sender.call("request app/far/0 60000 x")
                sender.engine.complete(self.router.envelopes[-1].token, reply)
                self.assertEqual(self.outcome(sender), expected)

    def test_error_texts_of_the_host_stay_with_it(self):
        sender = self.sender(self.router)
        sender.call("request app/far/0 60000 x")
        with self.assertLogs("airssys_wasm", "ERROR") as logged:
            error = ConnectionError("the password is x")
            sender.engine.complete(self.router.envelopes[-1].token, error=error)
        self.assertIn("the password is x", logged.output[0])
        outcome = self.outcome(sender)
        self.assertEqual(outcome["code"], "delivery-failed")
        self.assertEqual(outcome["message"], "the host's router failed")

    def test_errors(self):
        for error, code, text in (
            (ComponentNotFound("gone"), "target-not-found", "gone"),
            (Timeout("late"), "timeout", "late"),
            (ComponentError("größe"), "runtime-error", "größe"),
            (Trap("trap\0ped"), "trap", "trap\\0ped"),
            (QueueFull("full"), "queue-full", "full"),
            (InvalidMessage("codec"), "invalid-message", "codec"),
            (Cancelled("away"), "delivery-failed", "away"),
            (AirssysError("new", 99), "delivery-failed", "new"),
            (AirssysError("odd", 0), "delivery-failed", "odd"),
            (ConnectionError("cut"), "delivery-failed", "ConnectionError: cut"),
        ):
            with self.subTest(error):
                sender = self.sender(self.router, host_error_texts=True)
                sender.call("request app/far/0 60000 x")
                sender.engine.complete(self.router.envelopes[-1].token, error=error)
                outcome = self.outcome(sender)
                self.assertEqual(outcome["code"], code)
                self.assertIn(text, outcome["message"])

    def test_inside_route(self):
        def answer(envelope):
            sender.engine.complete(envelope.token, b"at once")

        sender = self.sender(Recorder(answer))
        self.assertNotIn(b"error", sender.call("request app/far/0 60000 x"))
        self.assertEqual(self.outcome(sender), "at once")

    def test_answered_and_then_refused(self):
        def answer(envelope):
            sender.engine.complete(envelope.token, b"answered")
            raise QueueFull("refused")

        sender = self.sender(Recorder(answer))
        self.assertNotIn(b"error", sender.call("request app/far/0 60000 x"))
        self.assertEqual(self.outcome(sender), "answered")

    def test_only_once(self):
        token = self.ask()
        self.made.complete(token, b"first")
        for _ in range(2):
            with self.assertRaises(RequestNotFound) as caught:
                self.made.complete(token, b"second")
            self.assertEqual(caught.exception.detail, {"request": token})
        self.assertEqual(self.outcome(self.requester), "first")

    def test_from_many_threads(self):
        for n in range(50):
            token = self.ask()
            start = threading.Barrier(8)

            def answer(thread, token=token, start=start):
                start.wait(PATIENCE)
                try:
                    self.made.complete(token, str(thread))
                    return True
                except RequestNotFound:
                    return False

            with ThreadPoolExecutor(8) as pool:
                answers = list(pool.map(answer, range(8)))
            self.assertEqual(answers.count(True), 1)
            last = self.callbacks(self.requester, n + 1)[-1]
            self.assertEqual(last["payload"], str(answers.index(True)))

    def test_a_request_that_nobody_answers(self):
        token = self.ask(timeout_ms=20)
        self.assertEqual(self.outcome(self.requester)["code"], "correlation-timeout")
        self.eventually(lambda: self.router.cancelled)
        self.assertEqual(self.router.cancelled, [token])
        with self.assertRaises(RequestNotFound):
            self.made.complete(token, b"too late")
        self.callbacks(self.requester, 1)

    def test_a_request_that_is_cancelled(self):
        correlation = self.requester.call("request app/far/0 60000 x").decode()
        [envelope] = self.router.envelopes
        self.assertEqual(self.requester.call(f"cancel {correlation}"), b"ok")
        self.eventually(lambda: self.router.cancelled)
        self.assertEqual(self.router.cancelled, [envelope.token])
        with self.assertRaises(RequestNotFound):
            self.made.complete(envelope.token, b"too late")
        self.callbacks(self.requester, 0)

    def test_a_router_without_cancel(self):
        class Deaf:
            def __init__(self):
                self.envelopes = []

            def route(self, envelope):
                self.envelopes.append(envelope)

        sender = self.sender(Deaf())
        correlation = sender.call("request app/far/0 20 x")
        self.assertEqual(self.outcome(sender)["code"], "correlation-timeout")
        self.assertIn(b"error", sender.call(b"cancel " + correlation))

    def test_a_cancel_that_raises(self):
        class Broken(Recorder):
            def cancel(self, token):
                super().cancel(token)
                raise ZeroDivisionError("in cancel")

        router = Broken()
        sender = self.sender(router)
        with self.assertLogs("airssys_wasm", "ERROR") as logged:
            sender.call("request app/far/0 1 x")
            self.eventually(lambda: logged.records)
        self.assertEqual(str(logged.records[0].exc_info[1]), "in cancel")
        self.assertEqual(len(self.callbacks(sender, 1)), 1)

    def test_tokens_of_nobody(self):
        made = self.requester.request("sleep-then 1 x")
        for token in (0, 1, made.request_id, (1 << 64) - 1):
            with self.subTest(token), self.assertRaises(RequestNotFound):
                self.made.complete(token)
        for token in (-1, 1 << 64):
            with self.subTest(token), self.assertRaises(InvalidArgument):
                self.made.complete(token)
        with self.assertRaises(TypeError):
            self.made.complete(1, b"reply", QueueFull())
        with self.assertRaises(TypeError):
            self.made.complete(1, 5)
        self.assertEqual(made.result(PATIENCE), b"x")
        self.made.close()
        with self.assertRaises(EngineClosed):
            self.made.complete(1)


class Delivering(EngineTest):
    def test_a_message(self):
        engine = self.engine()
        receiver = engine.load("app/near/0", guest("requester"))
        self.assertIsNone(engine.deliver(Envelope("a/b/c", "app/near/0", b"note hello")))
        self.assertEqual(json.loads(receiver.call("received")), ["hello"])

    def test_a_request(self):
        engine = self.engine()
        engine.load("app/probe/0", guest("probe"))
        made = engine.deliver(
            Envelope(
                "a/b/c",
                "app/probe/0",
                b"message",
                request=True,
                correlation=0xABCD,
                token=7,
                content_type="text/plain",
            )
        )
        seen = json.loads(made.result(PATIENCE))
        self.assertEqual(seen["sender"], "a/b/c")
        self.assertEqual(seen["content-type"], "text/plain")
        self.assertEqual(int(seen["correlation-id"], 16), 0xABCD)
        self.assertNotEqual(made.request_id, 0xABCD)

    def test_outcomes(self):
        engine = self.engine()
        engine.load("app/probe/0", guest("probe"))
        engine.load("app/trapper/0", guest("trapper"))
        for target, payload, expected in (
            ("app/probe/0", b"empty", b""),
            ("app/probe/0", "silent", None),
            ("app/probe/0", bytearray(b"blob 3"), b"\0\1\2"),
        ):
            made = engine.deliver(Envelope("a/b/c", target, payload, request=True))
            self.assertEqual(made.result(PATIENCE), expected)
        for target, payload, error in (
            ("app/probe/0", b"fail runtime-error x", ComponentError),
            ("app/trapper/0", b"unreachable", Trap),
        ):
            made = engine.deliver(Envelope("a/b/c", target, payload, request=True))
            with self.assertRaises(error):
                made.result(PATIENCE)

    def test_deadlines(self):
        gate, user, _ = self.held_up()
        now = time.time()
        for deadline in (now + 0.02, now - 5, 0.0, -1.0):
            with self.subTest(deadline):
                made = user.engine.deliver(
                    Envelope("a/b/c", USER, b"get k", request=True, deadline=deadline)
                )
                with self.assertRaises(Timeout):
                    made.result(PATIENCE)
        far = user.engine.deliver(Envelope("a/b/c", USER, b"get k", request=True, deadline=1e300))
        for deadline in (float("nan"), float("inf")):
            with self.subTest(deadline), self.assertRaises(InvalidArgument):
                user.engine.deliver(Envelope("a/b/c", USER, b"", request=True, deadline=deadline))
        gate.open()
        self.assertIsNone(far.result(PATIENCE))

    def test_cancelled(self):
        gate, user, _ = self.held_up()
        made = user.engine.deliver(Envelope("a/b/c", USER, b"get k", request=True))
        self.assertTrue(made.cancel())
        with self.assertRaises(Cancelled):
            made.result(0)

    def test_refused(self):
        gate, user, _ = self.held_up(mailbox={"capacity": 1}, engine_options={"router": Recorder()})
        engine = user.engine
        user.send("get k")
        for request in (True, False):
            for target, source, error in (
                (USER, "a/b/c", QueueFull),
                # Not passed to the engine's own router.
                ("app/nobody/0", "a/b/c", ComponentNotFound),
                ("nonsense", "a/b/c", InvalidId),
                (USER, "nonsense", InvalidId),
                ("a/b\0/c", "a/b/c", InvalidArgument),
            ):
                with self.subTest((target, source, request)), self.assertRaises(error):
                    engine.deliver(Envelope(source, target, b"get k", request=request))
        for envelope in (
            Envelope("a/b/c", USER, correlation=-1),
            Envelope("a/b/c", USER, correlation=1 << 64),
        ):
            with self.assertRaises(InvalidArgument):
                engine.deliver(envelope)
        with self.assertRaises(TypeError):
            engine.deliver(Envelope("a/b/c", USER, None))
        gate.open()
        engine.close()
        with self.assertRaises(EngineClosed):
            engine.deliver(Envelope("a/b/c", USER))


class TwoEngines(RouterTest):
    """Two engines, each of which reaches the components of the other."""

    def setUp(self):
        self.gate = Gate()
        bridges = Bridge(), Bridge()
        engines = [self.engine(router=bridge, storage=self.gate) for bridge in bridges]
        self.addCleanup(self.gate.open)
        for n, bridge in enumerate(bridges):
            bridge.home, bridge.other = engines[n], engines[1 - n]
        self.here, self.there = engines
        self.bridge = bridges[0]
        self.requester = self.here.load(SENDER, guest("requester"))

    def far(self, name, **options):
        return self.there.load(f"far/{name}/0", guest(name), **options)

    def test_there_and_back(self):
        receiver = self.far("requester")
        self.assertEqual(self.requester.call("send far/requester/0 note hello"), b"ok")
        self.assertEqual(json.loads(receiver.call("received")), ["hello"])
        receiver.call(f"send {SENDER} note and back")
        self.assertEqual(json.loads(self.requester.call("received")), ["and back"])

    def test_requests(self):
        self.far("echo")
        ids = [self.requester.call(f"request far/echo/0 60000 {n}").decode() for n in range(200)]
        found = self.callbacks(self.requester, 200)
        self.assertEqual(
            {c["correlation"]: c["payload"] for c in found},
            {id: str(n) for n, id in enumerate(ids)},
        )
        self.assertEqual({c["sender"] for c in found}, {"far/echo/0"})
        self.eventually(lambda: not self.bridge.open)

    def test_what_the_receiver_sees(self):
        self.far("probe")
        correlation = self.requester.call("request far/probe/0 60000 message").decode()
        seen = json.loads(self.outcome(self.requester))
        self.assertEqual((seen["sender"], seen["correlation-id"]), (SENDER, correlation))

    def test_errors(self):
        self.far("probe")
        self.far("trapper", limits={"max_fuel": 10_000_000})
        self.far("minimal")
        for n, (request, code) in enumerate(
            (
                ("far/probe/0 60000 fail runtime-error no such user", "runtime-error"),
                ("far/probe/0 60000 fail timeout x", "timeout"),
                ("far/trapper/0 60000 unreachable", "trap"),
                ("far/trapper/0 60000 loop", "resource-limit-exceeded"),
                ("far/minimal/0 60000 x", "export-not-found"),
            )
        ):
            with self.subTest(request):
                self.assertNotIn(b"error", self.requester.call(f"request {request}"))
                last = self.callbacks(self.requester, n + 1)[-1]
                self.assertEqual(json.loads(last["payload"])["code"], code)
        self.assertIn(b"target-not-found(far/nobody/0)", self.requester.call("send far/nobody/0 x"))
        self.there.close()
        self.assertIn(b"delivery-failed", self.requester.call("request far/probe/0 60000 x"))
        self.callbacks(self.requester, 5)

    def hold_far(self):
        user = self.there.load("far/user/0", guest("storage-user"), limits=Gate.LIMITS)
        return user

    def test_a_deadline(self):
        self.hold_far()
        self.requester.call("request far/user/0 50 set gate v")
        self.gate.wait_for_arrival()
        # Both engines know the deadline; the first one reports it.
        self.assertIn(self.outcome(self.requester)["code"], ("correlation-timeout", "timeout"))
        self.eventually(lambda: self.there.stats()["requests"]["outstanding"] == 0)
        self.gate.open()
        self.callbacks(self.requester, 1)

    def test_a_cancellation(self):
        self.hold_far()
        correlation = self.requester.call("request far/user/0 60000 set gate v").decode()
        self.gate.wait_for_arrival()
        [made] = self.bridge.open.values()
        self.assertEqual(self.requester.call(f"cancel {correlation}"), b"ok")
        with self.assertRaises(Cancelled):
            made.result(PATIENCE)
        self.gate.open()
        self.callbacks(self.requester, 0)

    def test_the_other_engine_ends(self):
        self.hold_far()
        self.requester.call("request far/user/0 60000 set gate v")
        self.gate.wait_for_arrival()
        with ThreadPoolExecutor(1) as pool:
            closing = pool.submit(self.there.close)
            self.assertEqual(self.outcome(self.requester)["code"], "delivery-failed")
            self.gate.open()
            closing.result(PATIENCE)

    def test_many_at_once(self):
        self.far("echo", instances=2)
        senders = [self.here.load(f"test/sender/{n}", guest("requester")) for n in range(1, 9)]

        def work(sender):
            for n in range(50):
                sender.call(f"request far/echo/0 60000 {sender.id}:{n}")
            found = self.callbacks(sender, 50)
            self.assertEqual(
                sorted(c["payload"] for c in found), sorted(f"{sender.id}:{n}" for n in range(50))
            )

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(work, senders))


if __name__ == "__main__":
    unittest.main()
