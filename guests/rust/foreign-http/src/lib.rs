//! A component of `wasi:http/proxy` that knows nothing of saf: what the router's adapter is tested with. The request's body says what
//! it does, as `word argument argument`:
//!
//! | word | what it does |
//! | --- | --- |
//! | `echo` | answers 200 with the body as text |
//! | `show` | answers 200 with method, path, authority and headers, a line each |
//! | `cloudevent` | answers 200 with a CloudEvent of the type named |
//! | `status` | answers the status named, with `Retry-After` when there is a second argument |
//! | `huge` | answers 200 with so many bytes |
//! | `error` | gives an error code in the response's place |
//! | `silent` | returns without a response |
//! | `half` | answers 200, begins the body and leaks it |
//! | `trap`, `spin` | answers 200, begins the body, and panics or never ends |

use std::mem;

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{
    ErrorCode, Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam,
};
use wasip2::io::streams::{InputStream, OutputStream, StreamError};

struct Foreign;

wasip2::http::proxy::export!(Foreign);

impl Guest for Foreign {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let body = read(&request);
        let text = String::from_utf8_lossy(&body).into_owned();
        let mut words = text.split(' ');
        let (word, argument) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let plain = ("content-type", "text/plain");
        match word {
            "echo" => finish(begin(out, 200, &[plain]), &body),
            "show" => finish(begin(out, 200, &[plain]), show(&request).as_bytes()),
            "cloudevent" => {
                let headers =
                    [plain, ("ce-specversion", "1.0"), ("ce-type", argument), ("ce-id", "of-the-guest")];
                finish(begin(out, 200, &headers), b"an event");
            }
            "status" => {
                let after = words.next().map(|after| ("retry-after", after));
                let headers: Vec<_> = after.into_iter().collect();
                finish(begin(out, argument.parse().unwrap_or(500), &headers), b"why");
            }
            "huge" => finish(begin(out, 200, &[plain]), &vec![b'x'; argument.parse().unwrap_or(0)]),
            "error" => ResponseOutparam::set(out, Err(ErrorCode::LoopDetected)),
            "silent" => {}
            "half" => mem::forget(started(out)),
            "trap" => {
                let _body = started(out);
                panic!("told to trap");
            }
            "spin" => {
                let _body = started(out);
                loop {
                    std::hint::spin_loop();
                }
            }
            _ => finish(begin(out, 400, &[]), b"no such word"),
        }
    }
}

fn begin(out: ResponseOutparam, status: u16, headers: &[(&str, &str)]) -> OutgoingBody {
    let entries: Vec<_> =
        headers.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect();
    let fields = Fields::from_list(&entries).unwrap_or_else(|error| panic!("{error}"));
    let response = OutgoingResponse::new(fields);
    response.set_status_code(status).unwrap_or_else(|()| panic!("{status} is no status"));
    let body = response.body().unwrap_or_else(|()| panic!("the body is there once"));
    ResponseOutparam::set(out, Ok(response));
    body
}

fn finish(body: OutgoingBody, bytes: &[u8]) {
    {
        let stream = body.write().unwrap_or_else(|()| panic!("the stream is there once"));
        // Whoever reads may have had enough.
        let _ = write(&stream, bytes);
    }
    let _ = OutgoingBody::finish(body, None);
}

fn started(out: ResponseOutparam) -> (OutgoingBody, OutputStream) {
    let body = begin(out, 200, &[("content-type", "text/plain")]);
    let stream = body.write().unwrap_or_else(|()| panic!("the stream is there once"));
    let _ = stream.blocking_write_and_flush(b"begun");
    (body, stream)
}

fn write(stream: &OutputStream, mut bytes: &[u8]) -> Result<(), StreamError> {
    let ready = stream.subscribe();
    while !bytes.is_empty() {
        ready.block();
        let room = usize::try_from(stream.check_write()?).unwrap_or(usize::MAX);
        let (now, later) = bytes.split_at(room.min(bytes.len()));
        stream.write(now)?;
        bytes = later;
    }
    Ok(())
}

fn read(request: &IncomingRequest) -> Vec<u8> {
    let Ok(body) = request.consume() else { return Vec::new() };
    let Ok(stream) = body.stream() else { return Vec::new() };
    read_all(&stream)
}

fn read_all(stream: &InputStream) -> Vec<u8> {
    const CHUNK_BYTES: u64 = 64 << 10;
    let mut all = Vec::new();
    while let Ok(bytes) = stream.blocking_read(CHUNK_BYTES) {
        all.extend(bytes);
    }
    all
}

fn show(request: &IncomingRequest) -> String {
    let mut lines = vec![
        format!("{:?}", request.method()),
        request.path_with_query().unwrap_or_default(),
        request.authority().unwrap_or_default(),
    ];
    let headers = request.headers().entries();
    lines.extend(headers.iter().map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value))));
    lines.join("\n")
}
