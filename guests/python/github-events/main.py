"""Summarises GitHub webhooks: a raw webhook body on `github.<event>` becomes a small JSON object on
`github.<event>.<action>.summary` (`github.<event>.summary` when the payload has no action). What is no JSON object, or came
on another subject, is rejected: it would fail again on every attempt."""

from __future__ import annotations

import re

from saf_channel import Emission, Event, channel, emit, reject

# Longest action in a subject: a sender of `repository_dispatch` chooses it freely, and subjects end at 255 bytes.
MAX_ACTION_CHARS = 64

# A comment on an issue has the number, title, state and address.
TOPICS = ("pull_request", "discussion", "issue", "milestone")


def handle(event: Event) -> Emission:
    source, _, name = event.subject.partition(".")
    if source != "github" or not name or "." in name:
        reject(f"{event.subject} is not github.<event>")
    payload = event.json()
    if not isinstance(payload, dict):
        reject("not a webhook's JSON (its content type must be application/json): no object")
    action = get(payload, "action", str)
    subject = f"github.{name}.{token(action)}.summary" if action else f"github.{name}.summary"
    return emit(subject, summary(name, payload))


def summary(name: str, payload: dict) -> dict:
    """A flat object, without the fields that the payload does not have."""
    topics = [get(payload, key, dict) for key in TOPICS]
    topic = next((t for t in topics if t is not None), None)
    commits = get(payload, "commits", list)
    fields = {
        "event": name,
        "action": get(payload, "action", str),
        "repository": get(get(payload, "repository", dict), "full_name", str),
        "organization": get(get(payload, "organization", dict), "login", str),
        "sender": get(get(payload, "sender", dict), "login", str),
        "number": natural(topic, "number"),
        "title": get(topic, "title", str),
        "state": get(topic, "state", str),
        "url": get(topic, "html_url", str),
        "tag": get(get(payload, "release", dict), "tag_name", str),
        "ref": get(payload, "ref", str),
        "commits": None if commits is None else len(commits),
    }
    return {key: value for key, value in fields.items() if value is not None}


def get(of: dict | None, key: str, kind: type):
    """A field that may be missing or null; of another type it is none of GitHub's."""
    value = None if of is None else of.get(key)
    if value is not None and type(value) is not kind:
        reject(f"not a webhook's JSON: {key} is a {type(value).__name__}, not a {kind.__name__}")
    return value


def natural(of: dict | None, key: str) -> int | None:
    number = get(of, key, int)
    if number is not None and number < 0:
        reject(f"not a webhook's JSON: {key} is {number}")
    return number


def token(action: str) -> str:
    """An action as one token of a subject: a dot would make two, and wildcards and white space are refused."""
    return re.sub(r"[^A-Za-z0-9_-]", "-", action[:MAX_ACTION_CHARS])


Handler = channel(handle)
