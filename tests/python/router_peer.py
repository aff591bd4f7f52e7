"""Joins engines of two processes over a socket. As a program: the other process.

A frame is the sizes of a JSON header and of a payload, and then these two.
"""

import concurrent.futures
import dataclasses
import functools
import itertools
import json
import logging
import queue
import socket
import struct
import sys
import threading
from pathlib import Path

from support import RIGHTS

from airssys_wasm import (
    AirssysError,
    DeliveryFailed,
    Engine,
    EngineStopped,
    Envelope,
    RequestNotFound,
)

SIZES = struct.Struct("!II")


class Link:
    """A router that sends mail through a socket and delivers the mail that arrives."""

    def __init__(self, sock, cancels=True):
        self.engine = None
        #: Headers of all received frames.
        self.seen = []
        self.closed = threading.Event()
        if not cancels:
            self.cancel = None
        self._sock = sock
        self._open = {}
        self._asked = {}
        self._numbers = itertools.count()
        # Writing must not block the reader, or both ends would wait for each other.
        self._outgoing = queue.SimpleQueue()
        self._threads = [threading.Thread(target=work) for work in (self._read, self._write)]

    def start(self, engine):
        self.engine = engine
        for thread in self._threads:
            thread.start()

    def stop(self):
        """Ends both threads. The other end sees a closed socket."""
        self._outgoing.put(None)
        self._threads[1].join()
        self._threads[0].join()
        self._sock.close()

    def join(self):
        """Waits until the other end has closed the socket."""
        self._threads[0].join()

    def seen_of(self, what):
        """Headers of the received frames of one kind."""
        return [header for header in tuple(self.seen) if header["do"] == what]

    # Called by the engine.

    def route(self, envelope):
        if self.closed.is_set():
            raise DeliveryFailed("the link is down")
        header = dataclasses.asdict(envelope)
        self._send("deliver", header.pop("payload"), **header)

    def cancel(self, token):
        self._send("cancel", token=token)

    # Called for frames of the other end.

    def _on_deliver(self, payload, **header):
        envelope = Envelope(payload=payload, **header)
        try:
            made = self.engine.deliver(envelope)
        except AirssysError as error:
            if envelope.request:
                self._answer(envelope.token, error)
            return
        if made is not None:
            self._open[envelope.token] = made
            made.add_done_callback(functools.partial(self._done, envelope.token))

    def _done(self, token, made):
        self._open.pop(token, None)
        # A cancelled request needs no answer.
        if not made.cancelled():
            error = made.exception()
            self._answer(token, error, None if error else made.result())

    def _answer(self, token, error, reply=None):
        status, message = (int(error.status), error.message) if error else (0, None)
        has_reply = reply is not None
        self._send(
            "complete", reply or b"", token=token, status=status, message=message, reply=has_reply
        )

    def _on_complete(self, payload, token, status, message, reply):
        error = AirssysError(message, status) if status else None
        try:
            self.engine.complete(token, payload if reply else None, error)
        except (RequestNotFound, EngineStopped):
            # The reply is late.
            pass

    def _on_cancel(self, payload, token):
        made = self._open.get(token)
        if made is not None:
            made.cancel()

    # Access to the other process, for tests.

    def stats(self):
        """`Engine.stats` at the other end: a future."""
        return self._ask(None, b"")

    def call(self, id, payload):
        """`Component.call` at the other end: a future of the reply, as JSON."""
        return self._ask(id, payload)

    def _ask(self, id, payload):
        asked = concurrent.futures.Future()
        number = next(self._numbers)
        self._asked[number] = asked
        self._send("ask", payload, number=number, id=id)
        return asked

    def _on_ask(self, payload, number, id):
        if id is None:
            answer = json.dumps(self.engine.stats()).encode()
        else:
            answer = self.engine.find(id).call(payload)
        self._send("told", answer, number=number)

    def _on_told(self, payload, number):
        self._asked.pop(number).set_result(json.loads(payload))

    # Frames.

    def _send(self, what, payload=b"", **header):
        head = json.dumps({"do": what, **header}).encode()
        self._outgoing.put(SIZES.pack(len(head), len(payload)) + head + payload)

    def _write(self):
        try:
            for frame in iter(self._outgoing.get, None):
                self._sock.sendall(frame)
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            self.closed.set()

    def _read(self):
        try:
            with self._sock.makefile("rb") as stream:
                while True:
                    head_size, payload_size = SIZES.unpack(self._exactly(stream, SIZES.size))
                    header = json.loads(self._exactly(stream, head_size))
                    payload = self._exactly(stream, payload_size)
                    self.seen.append(header.copy())
                    getattr(self, "_on_" + header.pop("do"))(payload, **header)
        except (OSError, EOFError):
            pass
        finally:
            self.closed.set()

    @staticmethod
    def _exactly(stream, size):
        data = stream.read(size)
        if len(data) < size:
            raise EOFError
        return data


def main():
    descriptor, guests = int(sys.argv[1]), Path(sys.argv[2])
    link = Link(socket.socket(fileno=descriptor))
    # The parent checks stderr for complaints. Crashes of components are intended.
    logging.getLogger("airssys_wasm.component").addHandler(logging.NullHandler())
    limits = {"max_execution_time_ms": 3_600_000, "max_fuel": 100_000_000}
    with Engine(name="far", router=link, capabilities=RIGHTS) as engine:
        for name in ("echo", "probe", "requester", "trapper"):
            engine.load(f"far/{name}/0", guests / f"{name}.wasm", limits=limits)
        link.start(engine)
        link.join()
        engine.close()
    link.stop()


if __name__ == "__main__":
    main()
