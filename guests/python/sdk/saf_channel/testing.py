"""Runs a handler as the router would, without one: for pytest and for a prompt.

    from saf_channel.testing import event, run
    from main import handle

    def test_it_greets():
        assert run(handle, event("hello", {"name": "Ada"})) == [emit("greeting", "hello Ada")]

It has no limits and no sandbox: those are what `saf-runtime test` is for.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from . import Emission, Event, Handle, Reject, Retry, answer, configure, emit

__all__ = ["event", "run", "start"]


def event(subject: str, data: Any = b"", **more: Any) -> Event:
    """An event whose `data` and content type are made as `emit` makes them; `more` are fields of `Event`."""
    made = emit(subject, data, content_type=more.pop("content_type", None))
    return Event(made.subject, made.data, made.content_type, **more)


def start(init: Callable[[dict[str, Any]], None], config: dict[str, Any] | None = None) -> None:
    """Calls `init` with a configuration; raises `Reject` with the reason when it refuses."""
    configure(init, json.dumps(config or {}))


def run(handle: Handle, event: Event) -> list[Emission] | Retry | Reject:
    """What the router would see: the emissions, or the failure; an exception of the handler is a `Retry` as there."""
    try:
        return answer(handle, event)
    except (Retry, Reject) as failure:
        return failure
