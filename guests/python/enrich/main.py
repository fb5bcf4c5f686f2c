"""Adds `"enriched": true` to a JSON object and emits it on `enriched.<subject>`; the other keys keep their order. Data that
is no JSON object is rejected: it would fail again on every attempt."""

from saf_channel import Emission, Event, channel, emit, reject


def handle(event: Event) -> Emission:
    document = event.json()
    if not isinstance(document, dict):
        reject(f"not a JSON object: a {type(document).__name__}")
    document["enriched"] = True
    return emit(f"enriched.{event.subject}", document)


Handler = channel(handle)
