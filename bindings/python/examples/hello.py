"""Sends a text to a component: python hello.py echo.wasm "hello" """

import logging
import sys

from airssys_wasm import Engine

logging.basicConfig(level=logging.INFO)
path, text = sys.argv[1:]

with Engine(limits={"max_memory_bytes": 16 << 20}) as engine:
    component = engine.load("example/hello/0", path)
    reply = component.call(text, timeout=1.0)
    print("no reply" if reply is None else reply.decode())
