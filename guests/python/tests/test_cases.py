"""The cases that every language shares, on the guests as plain Python runs them. Cases that end by a limit need the router's
sandbox, and are left to `saf-runtime test`."""

import base64
import importlib.util
import json
import os
from pathlib import Path

import pytest

from saf_channel import Abort, Emission, Event, Reject, Retry, answer
from saf_channel.testing import start

GUESTS = Path(__file__).parent.parent
CASES = GUESTS.parent / "cases"
FOLDERS = {"echo": ["echo"], "enrich": ["enrich"], "github-events": ["github-events"], "fail": ["fail", "fail-exception"]}
LIMITS = {"fuel", "timeout", "memory", "output"}


def load(guest):
    """Afresh for every case, as an instance is."""
    spec = importlib.util.spec_from_file_location(guest, GUESTS / guest / "main.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def all_cases():
    for guest, folders in FOLDERS.items():
        for path in sorted(path for folder in folders for path in (CASES / folder).glob("*.json")):
            case = json.loads(path.read_text("utf-8"))
            if not LIMITS & case["expect"].keys():
                yield pytest.param(guest, case, id=f"{guest}: {path.name}")


@pytest.mark.parametrize(("guest", "case"), list(all_cases()))
def test_a_case(guest, case):
    module = load(guest)
    if refusal := case["expect"].get("init"):
        with pytest.raises(Reject, match=refusal):
            start(module.init, case["config"])
        return
    if hasattr(module, "init"):
        start(module.init, case.get("config"))
    check(module.handle, case)


def test_every_known_webhook_is_summarised_as_in_rust():
    examples = os.environ.get("SAF_WEBHOOK_EXAMPLES")
    if not examples:
        pytest.skip("SAF_WEBHOOK_EXAMPLES is not set: cargo xtask test fetches them")
    payloads = [
        (f"github.{event['name']}", json.dumps(payload))
        for event in json.loads(Path(examples).read_text("utf-8"))
        for payload in event["examples"]
    ]
    expected = (CASES / "webhook-examples.txt").read_text("utf-8").rstrip("\n").split("\n")
    assert len(payloads) == len(expected), "webhook-examples.txt was made of another version of the payloads"
    handle = load("github-events").handle
    for (subject, data), line in zip(payloads, expected):
        summary_subject, summary = line.split(" ", 1)
        emission = {"subject": summary_subject, "data": summary, "content_type": "application/json"}
        check(handle, {"event": {"subject": subject, "data": data}, "expect": {"emissions": [emission]}})


def check(handle, case):
    fields = {key: value for key, value in case["event"].items() if not key.startswith("data")}
    event = Event(**{**fields, "headers": [tuple(pair) for pair in fields.get("headers", [])]}, data=data_of(case["event"]))
    ((kind, wanted),) = case["expect"].items()
    match kind:
        case "emissions":
            assert answer(handle, event) == [emission_of(each) for each in wanted]
        case "retry":
            with pytest.raises(Retry) as failure:
                answer(handle, event)
            wanted = {"reason": wanted} if isinstance(wanted, str) else wanted
            assert wanted["reason"] in failure.value.reason
            assert failure.value.after_ms == wanted.get("after_ms")
        case "reject":
            with pytest.raises(Reject) as failure:
                answer(handle, event)
            assert wanted in failure.value.reason
        case "trap":
            with pytest.raises(Abort, match=wanted):
                answer(handle, event)
        case _:
            pytest.fail(f"no such outcome: {kind}")


def emission_of(wanted):
    headers = [tuple(pair) for pair in wanted.get("headers", [])]
    return Emission(wanted["subject"], data_of(wanted), wanted.get("content_type"), headers, wanted.get("id"))


def data_of(of):
    return base64.b64decode(of["data_base64"]) if "data_base64" in of else of.get("data", "").encode()
