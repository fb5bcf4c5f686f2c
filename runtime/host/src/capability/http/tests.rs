//! The way out, on real sockets: what is denied never connects, what is allowed is capped, TLS trusts only its roots. What a guest
//! sees of it is in `tests/http.rs`.

use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use saf_event::Size;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::console::Sink;

const NOT_HUNG: Duration = Duration::from_secs(30);

fn limits() -> Limits {
    Limits { http_calls: 2, http_bytes: Size(2_000), ..Limits::default() }
}

fn outgoing(client: Client) -> (Http, Console) {
    let console = Console::new(Sink::Kept(Vec::new()), 10_000);
    (Http::new(client, &limits(), console.clone()), console)
}

fn client(origin: &str) -> Client {
    Client::new(&[origin.parse().expect("an origin")])
}

fn request(uri: &str, body: &str) -> Request<WasiBody> {
    let body = Full::new(Bytes::from(body.to_owned())).map_err(|never| match never {}).boxed_unsync();
    Request::post(uri).header("host", "set-by-wasi").body(body).expect("a request")
}

async fn send(http: &mut Http, request: Request<WasiBody>) -> Result<http::Response<WasiBody>, Error> {
    let sent = http.outgoing.send_request(request, None, Box::new(std::future::ready(Ok(()))));
    let sent = tokio::time::timeout(NOT_HUNG, Pin::from(sent)).await.expect("does not hang");
    sent.map(|(response, _)| response)
}

async fn body(response: http::Response<WasiBody>) -> Result<Bytes, Error> {
    let read = response.into_body().collect();
    Ok(tokio::time::timeout(NOT_HUNG, read).await.expect("does not hang")?.to_bytes())
}

/// Answers every request on every connection with `answer`.
async fn server(answer: &'static str, acceptor: Option<TlsAcceptor>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            match &acceptor {
                None => drop(tokio::spawn(serve(stream, answer))),
                Some(acceptor) => {
                    let accepted = acceptor.clone().accept(stream);
                    tokio::spawn(async move {
                        if let Ok(stream) = accepted.await {
                            serve(stream, answer).await;
                        }
                    });
                }
            }
        }
    });
    address
}

async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, answer: &str) {
    let mut seen = Vec::new();
    while stream.read_buf(&mut seen).await.is_ok_and(|n| n > 0) {
        // The tests' requests have no blank line in their bodies.
        if seen.windows(4).any(|four| four == b"\r\n\r\n") {
            seen.clear();
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    }
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";

#[tokio::test]
async fn without_a_grant_every_request_is_denied_and_the_log_says_what_to_add() {
    let (mut http, console) = outgoing(Client::default());
    let error = send(&mut http, request("https://api.example.com/v1", "")).await.expect_err("denied");
    assert!(matches!(error, Error::HttpRequestDenied), "{error:?}");
    let [line] = &console.take_lines()[..] else { panic!("one line") };
    assert!(line.text.contains("add grants.http = [\"https://api.example.com\"]"), "{}", line.text);
}

#[tokio::test]
async fn what_is_not_on_the_list_is_denied_before_anything_is_connected() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let (mut http, _) = outgoing(client("http://127.0.0.1:1"));
    for uri in [
        format!("http://127.0.0.1:{port}/"),
        format!("http://localhost:{port}/"),
        format!("http://127.0.0.1:1@127.0.0.1:{port}/"),
        format!("http://[::ffff:127.0.0.1]:{port}/"),
        format!("http://127.1:{port}/"),
    ] {
        let error = send(&mut http, request(&uri, "")).await.expect_err("denied");
        assert!(matches!(error, Error::HttpRequestDenied | Error::HttpRequestUriInvalid), "{uri}: {error:?}");
    }
    let mut tunnel = request("http://127.0.0.1:1", "");
    *tunnel.method_mut() = Method::CONNECT;
    assert!(matches!(send(&mut http, tunnel).await, Err(Error::HttpRequestDenied)));
    let nobody = tokio::time::timeout(Duration::from_millis(50), listener.accept()).await;
    assert!(nobody.is_err(), "somebody connected");
}

#[tokio::test]
async fn a_name_that_leads_back_into_this_machine_is_refused_unless_it_is_localhost() {
    let port = server(OK, None).await.port();
    let connector = Connector::new(connect::trusting(rustls::RootCertStore::empty()));
    let connect =
        |uri: String| tower_service::Service::call(&mut connector.clone(), uri.parse().expect("a URI"));
    assert!(connect(format!("http://localhost:{port}/")).await.is_ok());
    assert!(connect(format!("http://127.0.0.1:{port}/")).await.is_ok(), "an address in the list is meant");
    // The machine's own name is in no DNS of ours, but leads to loopback where it leads anywhere.
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    let found = tokio::net::lookup_host((name, port)).await;
    if found.is_ok_and(|found| found.into_iter().all(|address| address.ip().is_loopback())) {
        assert!(connect(format!("http://{name}:{port}/")).await.is_err());
    }
}

#[tokio::test]
async fn calls_and_open_responses_are_bounded_and_each_event_has_its_own() {
    let address = server(OK, None).await;
    let uri = format!("http://{address}/");
    let (mut http, console) = outgoing(client(&format!("http://{address}")));
    for _ in 0..2 {
        let response = send(&mut http, request(&uri, "x")).await.expect("allowed");
        assert_eq!(body(response).await.expect("whole"), "hi");
    }
    let error = send(&mut http, request(&uri, "x")).await.expect_err("the third");
    assert!(matches!(error, Error::ConnectionLimitReached), "{error:?}");
    assert!(console.take_lines()[0].text.contains("limits.http_calls allows 2 an event"));

    http.end_event();
    let kept = [
        send(&mut http, request(&uri, "x")).await.expect("allowed again"),
        send(&mut http, request(&uri, "x")).await.expect("allowed again"),
    ];
    http.end_event();
    let error = send(&mut http, request(&uri, "x")).await.expect_err("two are open");
    assert!(matches!(error, Error::ConnectionLimitReached), "{error:?}");
    drop(kept);
    send(&mut http, request(&uri, "x")).await.expect("allowed, they are closed");
}

#[tokio::test]
async fn bytes_are_bounded_in_both_directions() {
    let large = "HTTP/1.1 200 OK\r\ncontent-length: 3000\r\n\r\n";
    let large: &'static str = Box::leak(format!("{large}{}", "x".repeat(3_000)).into_boxed_str());
    let address = server(large, None).await;
    let uri = format!("http://{address}/");
    let (mut http, console) = outgoing(client(&format!("http://{address}")));
    let response = send(&mut http, request(&uri, "x")).await.expect("its head is small");
    let error = body(response).await.expect_err("cut off");
    assert!(matches!(error, Error::HttpResponseBodySize(_)), "{error:?}");
    assert!(console.take_lines()[0].text.contains("limits.http_bytes is"));

    http.end_event();
    let error = send(&mut http, request(&uri, &"x".repeat(2_500))).await.expect_err("too large");
    assert!(matches!(error, Error::HttpRequestBodySize(_)), "{error:?}");
}

#[tokio::test]
async fn an_exchange_ends_with_its_event() {
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = silent.local_addr().expect("bound");
    let (mut http, _) = outgoing(client(&format!("http://{address}")));
    let pending = http.outgoing.send_request(
        request(&format!("http://{address}/"), "x"),
        None,
        Box::new(std::future::ready(Ok(()))),
    );
    let pending = tokio::spawn(Pin::from(pending));
    let (mut connection, _) =
        tokio::time::timeout(NOT_HUNG, silent.accept()).await.expect("in time").expect("one");
    http.end_event();
    let ended = tokio::time::timeout(NOT_HUNG, pending).await.expect("does not hang").expect("no panic");
    assert!(matches!(ended, Err(Error::ConnectionTerminated)));
    let mut seen = Vec::new();
    let closed = tokio::time::timeout(NOT_HUNG, connection.read_to_end(&mut seen)).await;
    assert!(closed.is_ok(), "the connection is closed");
}

#[tokio::test]
async fn a_server_that_is_away_or_talks_nonsense_is_an_error_with_a_name() {
    let away = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = away.local_addr().expect("bound");
    drop(away);
    let (mut http, _) = outgoing(client(&format!("http://{address}")));
    let error = send(&mut http, request(&format!("http://{address}/"), "")).await.expect_err("nobody there");
    assert!(matches!(error, Error::ConnectionRefused), "{error:?}");

    let endless = Box::leak(format!("HTTP/1.1 200 OK\r\nx: {}", "x".repeat(200_000)).into_boxed_str());
    for (answer, expected) in [
        ("nonsense\r\n\r\n", "HttpProtocolError"),
        ("HTTP/1.1 200 OK\r\nbad header\r\n\r\n", "HttpProtocolError"),
        (&*endless, "HttpResponseHeaderSectionSize(None)"),
    ] {
        let address = server(answer, None).await;
        let (mut http, _) = outgoing(client(&format!("http://{address}")));
        let error = send(&mut http, request(&format!("http://{address}/"), "")).await.expect_err("nonsense");
        assert_eq!(format!("{error:?}"), expected);
    }
}

#[tokio::test]
async fn tls_trusts_its_roots_and_nobody_else() {
    let own = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(own.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)
        .expect("a certificate and its key");
    let port = server(OK, Some(TlsAcceptor::from(Arc::new(tls)))).await.port();
    let origins: [Origin; 2] = [format!("https://localhost:{port}"), format!("https://127.0.0.1:{port}")]
        .map(|o| o.parse().expect("valid"));
    let mut roots = rustls::RootCertStore::empty();
    roots.add(own.cert.der().clone()).expect("a root");

    let (mut http, _) = outgoing(Client::with(&origins, connect::trusting(roots)));
    let response =
        send(&mut http, request(&format!("https://localhost:{port}/"), "x")).await.expect("trusted");
    assert_eq!(body(response).await.expect("whole"), "hi");
    let other = send(&mut http, request(&format!("https://127.0.0.1:{port}/"), "x")).await;
    assert!(matches!(other, Err(Error::TlsCertificateError)), "the certificate is for another name");

    let (mut http, _) = outgoing(Client::with(&origins, connect::trusting(rustls::RootCertStore::empty())));
    let unknown = send(&mut http, request(&format!("https://localhost:{port}/"), "x")).await;
    assert!(matches!(unknown, Err(Error::TlsCertificateError)));
}
