"""Gives each event back: the same data and content type, on `echo.<subject>`."""

from saf_channel import Emission, Event, channel, emit


def handle(event: Event) -> Emission:
    return emit(f"echo.{event.subject}", event.data, content_type=event.content_type)


Handler = channel(handle)
