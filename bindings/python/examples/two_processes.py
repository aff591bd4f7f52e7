"""Counts words with components in two processes: python two_processes.py COMPONENTS_DIR TEXT_FILE"""

import contextlib
import json
import multiprocessing
import sys
import threading
import time
from pathlib import Path

from airssys_wasm import AirssysError, Engine, RequestNotFound


class Line:
    """A router that sends mail through a pipe to the engine at the other end."""

    def __init__(self, pipe):
        self.pipe = pipe
        self.lock = threading.Lock()

    def send(self, *frame):
        with self.lock:
            self.pipe.send(frame)

    def route(self, envelope):
        self.send("deliver", envelope)

    def serve(self, engine):
        """Serves the other end until it closes the pipe."""
        with contextlib.suppress(EOFError):
            while True:
                what, *rest = self.pipe.recv()
                if what == "deliver":
                    self.deliver(engine, *rest)
                else:
                    # The deadline of the request may have passed.
                    with contextlib.suppress(RequestNotFound):
                        engine.complete(*rest)

    def deliver(self, engine, envelope):
        try:
            request = engine.deliver(envelope)
        except AirssysError as error:
            if envelope.request:
                self.send("complete", envelope.token, None, error)
            return
        if request is not None:
            request.add_done_callback(lambda request: self.answer(envelope.token, request))

    def answer(self, token, request):
        error = request.exception()
        self.send("complete", token, None if error else request.result(), error)


def other_process(pipe, directory):
    line = Line(pipe)
    with Engine(router=line) as engine:
        engine.load("demo/splitter/0", directory / "splitter.wasm", mailbox={"capacity": 100_000})
        line.serve(engine)


def main():
    directory, text_file = map(Path, sys.argv[1:])
    processes = multiprocessing.get_context("spawn")
    here, there = processes.Pipe()
    # A daemon process ends with this one.
    processes.Process(target=other_process, args=(there, directory), daemon=True).start()
    there.close()

    line = Line(here)
    with Engine(router=line) as engine:
        threading.Thread(target=line.serve, args=(engine,), daemon=True).start()
        # `words` asks `demo/splitter/0`, in the other process, for the words of each paragraph.
        rights = {"messaging": {"request": ["demo/splitter/0"]}, "storage": ["read", "write"]}
        words = engine.load("demo/words/0", directory / "words.wasm", capabilities=rights)
        print(words.call("count\n" + text_file.read_text("utf-8")).decode())
        while json.loads(words.call("status"))["outstanding"]:
            time.sleep(0.001)
        print(words.call("top 10").decode())


if __name__ == "__main__":
    main()
