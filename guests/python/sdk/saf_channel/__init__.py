"""Channels for saf in Python: a function that takes an event and returns what it emits.

    from saf_channel import channel, emit

    def handle(event):
        return emit(f"echo.{event.subject}", event.data, content_type=event.content_type)

    Handler = channel(handle)

What the function does decides what becomes of the event:

- it returns: nothing, what `emit` gives, or any iterable of that (so it may be a generator): done, the emissions are stored;
- it calls `retry` (again, later) or `reject` (a dead letter now);
- it raises anything else: a retry whose reason is the exception with its traceback;
- it calls `abort`: a trap, and the instance with its state is gone.

The function is plain Python and can be called as such, in pytest too; `saf_channel.testing` runs it as the router would. This
package has no dependencies and knows the generated bindings only inside `channel`, so that it can be imported anywhere.
Deliberately absent: async handlers (the contract is synchronous) and logging of its own (`print` is logged at info, stderr and
the `logging` module at warn).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn, Union

from ._failure import Abort, Reject, Retry, abort, reason_of, reject, retry

__all__ = [
    "Abort", "Answer", "Emission", "Event", "Handle", "Reject", "Retry",
    "abort", "channel", "emit", "reject", "retry",
]

Headers = Union[Mapping[str, str], Iterable[tuple[str, str]]]


@dataclass
class Event:
    """An event, as the router stored it."""

    subject: str
    """Dot-separated tokens, such as `ride.accepted`."""
    data: bytes = b""
    """The payload, byte for byte as it was posted."""
    content_type: str | None = None
    """The media type of `data`, when the sender gave one."""
    headers: list[tuple[str, str]] = field(default_factory=list)
    """Names are lower case; a name may occur more than once."""
    id: str = "1"
    """Unique within the subject."""
    time: int = 0
    """When the router stored it: milliseconds since the Unix epoch."""
    sequence: int = 1
    """Its place in the stream; the same on every attempt."""
    attempt: int = 1
    """1 on the first attempt."""

    def text(self) -> str:
        """`data` as UTF-8; anything else is rejected."""
        try:
            return self.data.decode()
        except UnicodeDecodeError as e:
            reject(f"not UTF-8: {e}")

    def json(self) -> Any:
        """`data` as JSON; anything else is rejected, `NaN` and `Infinity` too."""
        try:
            return json.loads(self.text(), parse_constant=_no_constant)
        except (ValueError, RecursionError) as e:
            reject(f"not JSON: {e}")

    def header(self, name: str) -> str | None:
        """The first value of a header, `None` when there is none."""
        name = name.lower()
        return next((value for key, value in self.headers if key == name), None)


@dataclass
class Emission:
    """An event that the router is asked to store; `emit` makes it."""

    subject: str
    data: bytes
    content_type: str | None = None
    headers: list[tuple[str, str]] = field(default_factory=list)
    id: str | None = None


Answer = Union[Emission, Iterable[Emission], None]
Handle = Callable[[Event], Answer]


def emit(
    subject: str,
    data: Any = b"",
    *,
    content_type: str | None = None,
    headers: Headers = (),
    id: str | None = None,
) -> Emission:
    """An emission; it is stored when the handler returns it.

    `data` decides the content type, unless one is given: bytes have none, a str is text/plain in UTF-8, everything else
    becomes compact JSON. `id` is normally left out: the router derives one, so that a repeated attempt stores nothing twice.
    """
    if isinstance(data, (bytes, bytearray, memoryview)):
        encoded, implied = bytes(data), None
    elif isinstance(data, str):
        encoded, implied = _utf8(data), "text/plain; charset=utf-8"
    else:
        encoded, implied = _utf8(_encoder.encode(data)), "application/json"
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    return Emission(subject, encoded, content_type or implied, list(pairs), id)


_encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as e:
        reject(f"the text is not to be had in UTF-8: {e}")


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def channel(handle: Handle, *, init: Callable[[dict[str, Any]], None] | None = None) -> type:
    """The class that componentize-py exports; name it `Handler`.

    `init` is called once in each instance, before any event, with the Channel's `config` table. `reject` in it, or any
    exception, refuses the configuration: the Channel is shown as faulted and tried again. What it keeps belongs into module
    globals: they live as long as the instance.
    """

    class Handler:
        # componentize-py makes one object for each exported function: nothing may be kept on self.
        def init(self, config: str) -> None:
            try:
                configure(init, config)
            except Reject as refusal:
                raise _err(refusal.reason) from None

        def handle(self, event: Any) -> list[Any]:
            from wit_world.imports import types

            try:
                emissions = answer(handle, Event(
                    event.subject, event.data, event.content_type, event.headers,
                    event.id, event.time, event.sequence, event.attempt,
                ))
            except Reject as failure:
                raise _err(types.Failure_Reject(failure.reason)) from None
            except Retry as failure:
                raise _err(types.Failure_Retry(types.Retry(failure.reason, failure.after_ms))) from None
            return [types.Emission(e.subject, e.data, e.content_type, e.headers, e.id) for e in emissions]

    return Handler


def _err(value: Any) -> Exception:
    from componentize_py_types import Err

    return Err(value)


def configure(init: Callable[[dict[str, Any]], None] | None, config: str) -> None:
    """What the router's call of `init` does; raises nothing but `Reject` and `Abort`."""
    if init is None:
        return
    try:
        init(json.loads(config))
    except Reject:
        raise
    except Exception as e:
        raise Reject(reason_of(e)) from None


def answer(handle: Handle, event: Event) -> list[Emission]:
    """What the router's call of `handle` does; raises nothing but `Retry`, `Reject` and `Abort`."""
    try:
        return _emissions(handle(event))
    except (Retry, Reject):
        raise
    except Exception as e:
        raise Retry(reason_of(e)) from None


def _emissions(returned: Answer) -> list[Emission]:
    if returned is None:
        return []
    if isinstance(returned, Emission):
        return [returned]
    emissions = list(returned) if isinstance(returned, Iterable) else [returned]
    for emission in emissions:
        if not isinstance(emission, Emission):
            raise TypeError(
                f"the handler returned {emission!r:.100}: return what emit() gives, an iterable of that, or nothing"
            )
    return emissions
