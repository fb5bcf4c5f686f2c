"""What the SDK promises to an author."""

import json
import sys
import types

import pytest

from saf_channel import Abort, Emission, Event, Reject, Retry, abort, channel, emit, reject, retry
from saf_channel.testing import event, run, start

ONE = emit("a", b"1")


def generator(_):
    yield ONE
    yield ONE


@pytest.mark.parametrize(
    ("handle", "expected"),
    [
        (lambda _: None, []),
        (lambda _: ONE, [ONE]),
        (lambda _: [], []),
        (lambda _: [ONE, ONE], [ONE, ONE]),
        (lambda _: (ONE,), [ONE]),
        (generator, [ONE, ONE]),
    ],
)
def test_what_a_handler_may_return(handle, expected):
    assert run(handle, event("x")) == expected


@pytest.mark.parametrize("returned", [1, "text", {"subject": "a"}, [None], object()])
def test_anything_else_is_a_retry_that_says_what_to_return(returned):
    failure = run(lambda _: returned, event("x"))
    assert isinstance(failure, Retry)
    assert failure.reason.startswith("TypeError: the handler returned ")
    assert "return what emit() gives" in failure.reason


@pytest.mark.parametrize(
    ("emission", "data", "content_type"),
    [
        (emit("s"), b"", None),
        (emit("s", b"b"), b"b", None),
        (emit("s", bytearray(b"b")), b"b", None),
        (emit("s", memoryview(b"b")), b"b", None),
        (emit("s", "größe"), "größe".encode(), "text/plain; charset=utf-8"),
        (emit("s", {"b": [1, None], "a": "ü"}), '{"b":[1,null],"a":"ü"}'.encode(), "application/json"),
        (emit("s", None), b"null", "application/json"),
        (emit("s", 1.5), b"1.5", "application/json"),
        (emit("s", "<a/>", content_type="text/xml"), b"<a/>", "text/xml"),
    ],
)
def test_data_decides_the_content_type_unless_one_is_given(emission, data, content_type):
    assert (emission.data, emission.content_type) == (data, content_type)


def test_headers_are_pairs_or_a_mapping():
    pairs = [("x-a", "1"), ("x-b", "2")]
    assert emit("s", headers=pairs).headers == emit("s", headers=dict(pairs)).headers == pairs


@pytest.mark.parametrize("data", ["\ud800", {"a": "\ud800"}])
def test_text_that_is_none_can_never_be_emitted(data):
    assert isinstance(run(lambda _: emit("s", data), event("x")), Reject)


def test_the_ways_to_fail():
    failure = run(lambda _: retry("busy", after_ms=1500), event("x"))
    assert isinstance(failure, Retry)
    assert (failure.reason, failure.after_ms) == ("busy", 1500)
    failure = run(lambda _: retry("busy"), event("x"))
    assert (failure.reason, failure.after_ms) == ("busy", None)
    failure = run(lambda _: reject("never"), event("x"))
    assert isinstance(failure, Reject)
    assert failure.reason == "never"
    with pytest.raises(Abort, match="broken"):
        run(lambda _: abort("broken"), event("x"))


def rejecting_late(_):
    yield ONE
    reject("never")


def test_a_generator_fails_as_a_whole():
    assert isinstance(run(rejecting_late, event("x")), Reject)


def thrower(_):
    raise ValueError("too far")


def test_an_exception_is_a_retry_that_names_the_place():
    first, *rest = run(thrower, event("x")).reason.split("\n")
    line = thrower.__code__.co_firstlineno + 1
    assert first == f"ValueError: too far (test_sdk.py:{line})"
    assert any(f"line {line}, in thrower" in frame for frame in rest)
    assert not any("saf_channel" in frame for frame in rest), rest


def test_a_cause_is_told():
    def caused(_):
        try:
            thrower(_)
        except ValueError as e:
            raise RuntimeError("outer") from e

    reason = run(caused, event("x")).reason
    assert reason.startswith("RuntimeError: outer (test_sdk.py:")
    assert "ValueError: too far" in reason


def test_a_long_reason_keeps_its_head_and_its_innermost_frames():
    def deep(n):
        if n == 0:
            raise ValueError("x" * 10_000)
        exec(f"def frame_{n}(n): deep(n - 1)", {"deep": deep}, scope := {})
        scope[f"frame_{n}"](n)

    reason = run(lambda _: deep(100), event("x")).reason
    assert len(reason.encode()) <= 4096
    assert reason.startswith("ValueError: xxx")
    recursive = run(lambda _: json.loads("[" * 100_000), event("x"))
    assert recursive.reason.startswith("RecursionError: ")


def test_a_configuration_is_taken_or_refused():
    seen = []
    start(seen.append, {"greeting": "hi"})
    assert seen == [{"greeting": "hi"}]
    with pytest.raises(Reject, match="^no greeting$"):
        start(lambda _: reject("no greeting"))
    with pytest.raises(Reject, match=r"^KeyError: 'greeting' \(test_sdk.py:\d+\)"):
        start(lambda config: config["greeting"])


def test_what_an_event_offers():
    it = event("a", {"x": 1}, headers=[("x-a", "1"), ("x-a", "2")], sequence=5)
    assert it.json() == {"x": 1}
    assert it.text() == '{"x":1}'
    assert it.content_type == "application/json"
    assert (it.header("X-A"), it.header("x-b")) == ("1", None)
    assert (it.sequence, it.attempt) == (5, 1)


@pytest.mark.parametrize("data", [b"", b"{", b"NaN", b"{} {}", b"\xef\xbb\xbf{}", b'"\xff"', b"\x00{\x00}", b"[" * 100_000])
def test_data_that_is_no_json_is_rejected(data):
    failure = run(lambda e: e.json() and None, event("x", data))
    assert isinstance(failure, Reject)
    assert failure.reason.startswith("not ")


class Err(Exception):
    """What componentize-py turns into the contract's failure."""

    def __init__(self, value):
        super().__init__(value)
        self.value = value




@pytest.fixture
def bindings(monkeypatch):
    made = types.SimpleNamespace(
        **{name: lambda *fields, name=name: (name, *fields) for name in ("Failure_Reject", "Failure_Retry", "Retry", "Emission")}
    )
    monkeypatch.setitem(sys.modules, "componentize_py_types", types.SimpleNamespace(Err=Err))
    monkeypatch.setitem(sys.modules, "wit_world", types.ModuleType("wit_world"))
    monkeypatch.setitem(sys.modules, "wit_world.imports", types.SimpleNamespace(types=made))


def test_a_component_speaks_the_contracts_types(bindings):
    def handle(event: Event):
        if event.data == b"reject":
            reject("never")
        if event.data == b"retry":
            retry("busy", 7)
        return emit("b", event.data, headers={"x": "1"})

    handler = channel(handle, init=lambda config: config.get("bad") and reject("bad"))()
    assert handler.init("{}") is None
    with pytest.raises(Err) as refused:
        handler.init('{"bad": true}')
    assert refused.value.value == "bad"
    assert handler.handle(Event("a", b"1")) == [("Emission", "b", b"1", None, [("x", "1")], None)]
    for data, failure in [
        (b"reject", ("Failure_Reject", "never")),
        (b"retry", ("Failure_Retry", ("Retry", "busy", 7))),
    ]:
        with pytest.raises(Err) as failed:
            handler.handle(Event("a", data))
        assert failed.value.value == failure


def test_an_emission_is_what_emit_made():
    assert emit("s", b"d", id="7") == Emission("s", b"d", None, [], "7")
