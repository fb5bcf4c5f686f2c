"""A component of the proxy of wasi:http that knows nothing of saf. ../../README.md says what it does."""

from componentize_py_types import Err, Ok
from wit_world import exports
from wit_world.imports.streams import StreamError_Closed
from wit_world.imports.types import (
    ErrorCode_LoopDetected,
    Fields,
    IncomingRequest,
    OutgoingBody,
    OutgoingResponse,
    ResponseOutparam,
)

CHUNK_BYTES = 65536
# As much as one blocking-write-and-flush takes.
WRITE_BYTES = 4096
PLAIN = ("content-type", "text/plain")


def read(request: IncomingRequest) -> bytes:
    whole = b""
    with request.consume() as body, body.stream() as stream:
        while True:
            try:
                whole += stream.blocking_read(CHUNK_BYTES)
            except Err as end:
                if not isinstance(end.value, StreamError_Closed):
                    raise
                return whole


def begin(out: ResponseOutparam, status: int, headers: list[tuple[str, str]]) -> OutgoingBody:
    response = OutgoingResponse(Fields.from_list([(name, value.encode()) for name, value in headers]))
    response.set_status_code(status)
    body = response.body()
    ResponseOutparam.set(out, Ok(response))
    return body


def answer(out: ResponseOutparam, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
    body = begin(out, status, headers)
    with body.write() as stream:
        for at in range(0, len(content), WRITE_BYTES):
            stream.blocking_write_and_flush(content[at : at + WRITE_BYTES])
    OutgoingBody.finish(body, None)


def show(request: IncomingRequest) -> bytes:
    method = type(request.method()).__name__.replace("_", "::")
    lines = [method, request.path_with_query() or "", request.authority() or ""]
    with request.headers() as headers:
        lines += [f"{name}: {value.decode('latin-1')}" for name, value in headers.entries()]
    return "\n".join(lines).encode()


class IncomingHandler(exports.IncomingHandler):
    def handle(self, request: IncomingRequest, response_out: ResponseOutparam) -> None:
        out = response_out
        content = read(request)
        match content.decode().split(" "):
            case ["echo", *_]:
                answer(out, 200, [PLAIN], content)
            case ["show"]:
                answer(out, 200, [PLAIN], show(request))
            case ["cloudevent", subject]:
                event = [("ce-specversion", "1.0"), ("ce-type", subject), ("ce-id", "of-the-guest")]
                answer(out, 200, [PLAIN, *event], b"an event")
            case ["status", status]:
                answer(out, int(status), [], b"why")
            case ["status", status, after]:
                answer(out, int(status), [("retry-after", after)], b"why")
            case ["error"]:
                ResponseOutparam.set(out, Err(ErrorCode_LoopDetected()))
            case ["silent"]:
                pass
            case ["trap"]:
                begin(out, 200, [PLAIN])
                raise RuntimeError("told to trap")
            case _:
                answer(out, 400, [], b"no such word")
