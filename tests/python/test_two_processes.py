"""Engines of two processes, joined by routers over a socket."""

import json
import os
import signal
import socket
import subprocess
import sys
import unittest
from pathlib import Path

from router_peer import Link
from support import PACKAGE_PARENT, PATIENCE, Gate, guest
from test_router import ERROR, SENDER, RouterTest

from airssys_wasm import Status

PEER = Path(__file__).with_name("router_peer.py")


@unittest.skipUnless(hasattr(socket, "AF_UNIX"), "no Unix sockets here")
class Joined(RouterTest):
    """An engine of this process and an engine of another process."""

    LINK_OPTIONS = {}

    def setUp(self):
        near, far = socket.socketpair(socket.AF_UNIX)
        self.peer = subprocess.Popen(
            [
                sys.executable,
                "-W",
                "error",
                str(PEER),
                str(far.fileno()),
                str(guest("echo").parent),
            ],
            env={**os.environ, "PYTHONPATH": str(PACKAGE_PARENT)},
            pass_fds=[far.fileno()],
            stderr=subprocess.PIPE,
            text=True,
        )
        far.close()
        self.link = Link(near, **self.LINK_OPTIONS)
        self.near = self.engine(name="near", router=self.link)
        self.requester = self.near.load(SENDER, guest("requester"))
        self.link.start(self.near)
        self.killed = False
        self.addCleanup(self.end_peer)
        # Waits until the peer is ready.
        self.far_stats()

    def end_peer(self):
        self.link.stop()
        try:
            _, complaints = self.peer.communicate(timeout=PATIENCE)
        finally:
            self.peer.kill()
        self.assertEqual(complaints, "")
        self.assertEqual(self.peer.returncode, -signal.SIGKILL if self.killed else 0)

    def kill_peer(self):
        self.killed = True
        self.peer.kill()
        self.assertTrue(self.link.closed.wait(PATIENCE))

    def ask(self, target, payload, timeout_ms=60_000):
        reply = self.requester.call(f"request {target} {timeout_ms} {payload}").decode()
        self.assertNotIn("error", reply)
        return reply

    def far_stats(self):
        return self.link.stats().result(PATIENCE)

    def far_call(self, id, payload):
        return self.link.call(id, payload).result(PATIENCE)

    def wait_until_far_works(self, count=1):
        """Waits until this many requests of this process are open in the other."""
        self.eventually(lambda: self.far_stats()["requests"]["outstanding"] == count)

    def codes(self, found):
        self.assertEqual({callback["content-type"] for callback in found}, {ERROR})
        return {json.loads(callback["payload"])["code"] for callback in found}


class TwoProcesses(Joined):
    def test_messages(self):
        for n in range(200):
            self.requester.send(f"send far/requester/0 note {n}")
        expected = [str(n) for n in range(200)]
        self.eventually(lambda: self.far_call("far/requester/0", b"received") == expected)

    def test_requests(self):
        ids = {self.ask("far/echo/0", f"payload {n}"): f"payload {n}" for n in range(200)}
        found = self.callbacks(self.requester, 200)
        self.assertEqual({c["correlation"]: c["payload"] for c in found}, ids)
        self.assertEqual({c["sender"] for c in found}, {"far/echo/0"})
        self.assertEqual(self.near.stats()["requests"], {"outstanding": 0, "late-replies": 0})
        self.assertEqual(self.far_stats()["requests"], {"outstanding": 0, "late-replies": 0})

    def test_what_the_receiver_sees(self):
        correlation = self.ask("far/probe/0", "message")
        seen = json.loads(self.outcome(self.requester))
        self.assertEqual((seen["sender"], seen["correlation-id"]), (SENDER, correlation))

    def test_requests_in_both_directions_at_once(self):
        self.near.load("near/echo/0", guest("echo"))
        for n in range(100):
            self.requester.send(f"request far/echo/0 60000 {n}")
            self.requester.send(f"send far/requester/0 request near/echo/0 60000 {n}")
        expected = {str(n) for n in range(100)}
        found = self.callbacks(self.requester, 100)
        self.assertEqual({callback["payload"] for callback in found}, expected)
        self.eventually(lambda: len(self.far_call("far/requester/0", b"callbacks")) >= 100)
        found = self.far_call("far/requester/0", b"callbacks")
        self.assertEqual(len(found), 100)
        self.assertEqual({callback["payload"] for callback in found}, expected)
        self.assertEqual({callback["sender"] for callback in found}, {"near/echo/0"})

    def test_a_large_payload(self):
        text = "0123456789" * 300_000
        self.ask("far/echo/0", text)
        self.assertEqual(self.outcome(self.requester), text)

    def test_errors(self):
        for n, (target, payload, code, text) in enumerate(
            (
                ("far/probe/0", "fail runtime-error no such user", "runtime-error", "no such user"),
                ("far/probe/0", "fail timeout x", "timeout", "far/probe/0"),
                ("far/trapper/0", "unreachable", "trap", "unreachable"),
                ("far/trapper/0", "loop", "resource-limit-exceeded", "max-fuel"),
                ("far/nobody/0", "x", "target-not-found", "far/nobody/0"),
            )
        ):
            with self.subTest((target, payload)):
                self.ask(target, payload)
                last = self.callbacks(self.requester, n + 1)[-1]
                self.assertEqual(last["content-type"], ERROR)
                document = json.loads(last["payload"])
                self.assertEqual(document["code"], code)
                self.assertIn(text, document["message"])

    def test_a_cancellation(self):
        correlation = self.ask("far/trapper/0", "sleep 3600000")
        self.wait_until_far_works()
        self.assertEqual(self.requester.call(f"cancel {correlation}"), b"ok")
        self.wait_until_far_works(0)
        self.assertEqual(self.link.seen_of("complete"), [])
        self.callbacks(self.requester, 0)

    def test_a_reply_that_crosses_its_cancellation(self):
        for _ in range(200):
            correlation = self.ask("far/echo/0", "x")
            self.requester.call(f"cancel {correlation}")
        self.eventually(lambda: self.near.stats()["requests"]["outstanding"] == 0)
        self.wait_until_far_works(0)
        found = json.loads(self.requester.call("callbacks"))
        self.assertEqual(len({c["correlation"] for c in found}), len(found))

    def test_the_peer_is_killed(self):
        for _ in range(20):
            self.ask("far/trapper/0", "sleep 3600000", timeout_ms=1_000)
        self.kill_peer()
        self.assertEqual(self.near.stats()["requests"]["outstanding"], 20)
        found = self.callbacks(self.requester, 20)
        self.assertEqual(self.codes(found), {"correlation-timeout"})
        self.assertEqual(len({callback["correlation"] for callback in found}), 20)
        self.assertEqual(self.near.stats()["requests"]["outstanding"], 0)
        # From now on senders get the error at once.
        for command in ("send far/echo/0 x", "request far/echo/0 60000 x"):
            reply = self.requester.call(command)
            self.assertEqual(reply, b"error: delivery-failed(the host's router failed)")
        self.callbacks(self.requester, 20)

    def test_the_peer_is_killed_while_it_answers(self):
        sent = 0
        while len(self.link.seen) < 100:
            self.ask("far/echo/0", "x", timeout_ms=1_000)
            sent += 1
        self.kill_peer()
        found = self.callbacks(self.requester, sent)
        self.assertEqual(len({callback["correlation"] for callback in found}), sent)
        failed = [callback for callback in found if callback["content-type"]]
        self.assertLess(len(failed), sent)
        if failed:
            self.assertEqual(self.codes(failed), {"correlation-timeout"})

    def test_this_engine_ends_first(self):
        self.near.load("near/trapper/0", guest("trapper"), limits=Gate.LIMITS)
        self.requester.call("send far/requester/0 request near/trapper/0 60000 sleep 3600000")
        self.eventually(lambda: self.near.stats()["requests"]["outstanding"])
        self.near.close()
        self.eventually(lambda: self.far_call("far/requester/0", b"callbacks"))
        found = self.far_call("far/requester/0", b"callbacks")
        self.assertEqual(len(found), 1)
        self.assertEqual(self.codes(found), {"delivery-failed"})

    def test_a_deadline(self):
        self.ask("far/trapper/0", "sleep 3600000", timeout_ms=200)
        # Both processes know the deadline; the first one reports it.
        self.assertIn(self.outcome(self.requester)["code"], ("timeout", "correlation-timeout"))
        self.wait_until_far_works(0)
        self.callbacks(self.requester, 1)


class WithoutCancellations(Joined):
    """The other end learns of a request's end only through its deadline."""

    LINK_OPTIONS = {"cancels": False}

    def test_a_deadline_holds_in_both_processes(self):
        self.ask("far/trapper/0", "sleep 3600000", timeout_ms=200)
        self.assertIn(self.outcome(self.requester)["code"], ("timeout", "correlation-timeout"))
        [answer] = self.eventually(lambda: self.link.seen_of("complete"))
        self.assertEqual(answer["status"], Status.TIMEOUT)
        self.wait_until_far_works(0)
        self.callbacks(self.requester, 1)


if __name__ == "__main__":
    unittest.main()
