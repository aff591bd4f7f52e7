"""Greets, counts in its storage, and asks another component.

Payloads are text: ``greet NAME``, ``count``, ``ask ID QUESTION``, ``answer`` (the last one),
``fail TEXT``.
"""

import json
from typing import Optional

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.component_lifecycle import ComponentMetadata
from wit_world.imports import host_messaging, host_services, storage
from wit_world.imports.errors import WasmError_RuntimeError
from wit_world.imports.types import (
    ComponentConfig,
    ComponentId,
    ComponentMessage,
    HealthStatus,
    LogLevel,
)

#: Milliseconds that a question may wait for its answer.
PATIENCE = 10_000


def fail(text: str) -> Err:
    """The error of a handler, in words for the sender."""
    return Err(WasmError_RuntimeError(text))


def count() -> int:
    return int((storage.get("count") or b"0").decode())


class ComponentLifecycle(exports.ComponentLifecycle):
    def initialize(self, config: ComponentConfig) -> None:
        global greeting, answer
        greeting = dict(config.env_vars).get("GREETING", "Hello")
        answer = ""

    def handle_message(self, msg: ComponentMessage) -> Optional[bytes]:
        try:
            return self.answered(msg.payload.decode()).encode()
        except Err as error:
            if isinstance(error.value, WasmError_RuntimeError):
                raise
            # An error of the host; its class has the name of the case.
            kind, _, case = type(error.value).__name__.partition("_")
            raise fail(f"{dashed(case or kind)}: {getattr(error.value, 'value', '')}") from error

    def answered(self, text: str) -> str:
        command, _, rest = text.partition(" ")
        if command == "greet":
            number = count() + 1
            storage.set("count", str(number).encode())
            host_services.log(LogLevel.INFO, f"greeted {rest}", [("count", str(number))])
            return f"{greeting}, {rest}!"
        if command == "count":
            return str(count())
        if command == "ask":
            target, _, question = rest.partition(" ")
            host_messaging.request(ComponentId(*target.split("/")), question.encode(), PATIENCE)
            return "asked"
        if command == "answer":
            return answer
        if command == "fail":
            raise fail(rest)
        raise fail(f"unknown command: {command}")

    def handle_callback(self, msg: ComponentMessage) -> None:
        global answer
        answer = msg.payload.decode()
        if msg.metadata.content_type == "application/vnd.airssys.error+json":
            error = json.loads(answer)
            answer = f"{error['code']}: {error['message']}"

    def metadata(self) -> ComponentMetadata:
        return ComponentMetadata(
            name="greeter",
            version="0.1.0",
            description="Greets, counts and asks",
            author="The airssys-wasm authors",
            license="MIT OR Apache-2.0",
            supported_operations=["greet", "count", "ask", "answer", "fail"],
            stateful=True,
        )

    def health(self) -> HealthStatus:
        return HealthStatus.HEALTHY

    def shutdown(self) -> None:
        pass


def dashed(name: str) -> str:
    """A name of a class as WIT spells it."""
    return "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("-")
