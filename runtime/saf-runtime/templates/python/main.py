"""Greets whoever an event names."""

from saf_channel import Emission, Event, channel, emit


def handle(event: Event) -> Emission:
    person = event.json()
    return emit(f"{event.subject}.done", {"greeting": f"hello, {person['name']}"})


Handler = channel(handle)
