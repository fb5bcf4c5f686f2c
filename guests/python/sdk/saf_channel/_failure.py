"""The ways to fail, and how an exception reads as a reason."""

from __future__ import annotations

import os
import traceback
from types import TracebackType
from typing import NoReturn

# The router keeps 4 KiB of a reason; a longer traceback is cut here, where we know which end matters.
MAX_REASON_BYTES = 4000
MAX_SUMMARY_CHARS = 500


class Retry(Exception):
    """The event shall come again."""

    def __init__(self, reason: str, after_ms: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.after_ms = after_ms


class Reject(Exception):
    """The event can never be handled."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Abort(BaseException):
    """The instance shall end. Not an Exception: what handles those must not keep it."""


def retry(reason: str, after_ms: int | None = None) -> NoReturn:
    """Have the event delivered again, after `after_ms` milliseconds; `None` takes the next step of the Channel's backoff.

    `reason` is for a person, and is kept in the dead letter when the attempts are used up.
    """
    raise Retry(reason, after_ms)


def reject(reason: str) -> NoReturn:
    """Have the event made a dead letter now, with this reason for a person."""
    raise Reject(reason)


def abort(reason: str) -> NoReturn:
    """End this instance by a trap: for a state that no later event should meet. The event comes again, in a new instance."""
    raise Abort(reason)


def reason_of(error: BaseException) -> str:
    """The exception in one line, with the place it came from, then its traceback; the innermost frames when it is long."""
    trace = error.__traceback__
    # The SDK's own frame says nothing to the author.
    if trace is not None and trace.tb_frame.f_code.co_filename.startswith(os.path.dirname(__file__)):
        trace = trace.tb_next
    message = "".join(traceback.format_exception_only(type(error), error)).strip()
    summary = message.split("\n", 1)[0][:MAX_SUMMARY_CHARS] + _place(trace)
    shown = "".join(traceback.format_exception(type(error), error, trace)).rstrip()
    return f"{summary}\n{_end_of(shown, MAX_REASON_BYTES - len(summary.encode(errors='replace')))}"


def _place(trace: TracebackType | None) -> str:
    frames = traceback.extract_tb(trace)
    if not frames:
        return ""
    return f" ({os.path.basename(frames[-1].filename)}:{frames[-1].lineno})"


def _end_of(text: str, most: int) -> str:
    encoded = text.encode(errors="replace")
    if len(encoded) <= most:
        return encoded.decode()
    return "…\n" + encoded[4 - most:].decode(errors="ignore")
