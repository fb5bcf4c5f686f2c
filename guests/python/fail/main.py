"""Fails as the event's data says; the words stand in `guests/cases/README.md`."""

import sys

from saf_channel import Answer, Event, abort, channel, emit, reject, retry

WORDS = ("retry", "backoff", "reject", "throw", "trap", "spin", "log", "count")

# Lives as long as the instance.
seen = 0


def init(config: dict) -> None:
    if config.get("init") == "fail":
        reject("the configuration says: fail")


def handle(event: Event) -> Answer:
    global seen
    seen += 1
    match event.text():
        case "retry":
            retry("not yet", after_ms=1500)
        case "backoff":
            retry("not yet")
        case "reject":
            reject("never")
        case "throw":
            raise RuntimeError("an exception")
        case "trap":
            abort("asked to trap")
        case "spin":
            while True:
                pass
        case "log":
            print("to stdout")
            print("to stderr", file=sys.stderr)
        case "count":
            return emit("fail.count", str(seen).encode())
        case word:
            reject(f"unknown word: {word:.40}; one of {', '.join(WORDS)}")


Handler = channel(handle, init=init)
