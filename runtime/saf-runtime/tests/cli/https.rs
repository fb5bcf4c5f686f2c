//! A router behind a proxy that speaks TLS, as it stands where operators are not on its machine.

use std::fs;
use std::io::{Read, Write, copy};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::said::{Said, alone, at, echo};
use crate::support::{On, Router, Stage};

/// Most bytes of a request's head.
const HEAD_BYTES: usize = 64 << 10;

/// A proxy before a router's admin listener.
struct Proxy {
    url: String,
    /// What it is known by.
    certificate: PathBuf,
}

impl Proxy {
    /// Serves until the process ends.
    fn start(stage: &Stage, router: &Router) -> Self {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
        let certificate = stage.folder.path().join("proxy.pem");
        fs::write(&certificate, made.cert.pem()).expect("writable");
        let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("they are there")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .expect("its own key");
        let (config, behind) = (Arc::new(config), router.admin.replace("http://", ""));
        let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
        let url = format!("https://{}", listener.local_addr().expect("bound"));
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (config, behind) = (config.clone(), behind.clone());
                // What goes wrong with one connection is seen by who made it.
                thread::spawn(move || pass_on(client, config, &behind).ok());
            }
        });
        Self { url, certificate }
    }
}

/// One request without a body, and all of its answer.
fn pass_on(client: TcpStream, config: Arc<ServerConfig>, behind: &str) -> std::io::Result<()> {
    let tls = ServerConnection::new(config).map_err(std::io::Error::other)?;
    let mut client = StreamOwned::new(tls, client);
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") && head.len() < HEAD_BYTES {
        client.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    head.truncate(head.len() - 2);
    head.extend_from_slice(b"connection: close\r\n\r\n");
    let mut router = TcpStream::connect(behind)?;
    router.write_all(&head)?;
    copy(&mut router, &mut client)?;
    client.conn.send_close_notify();
    client.flush()
}

#[test]
fn a_router_behind_tls_is_asked_when_its_authority_is_trusted() {
    let stage = echo(On::Embedded);
    let router = stage.start();
    let proxy = Proxy::start(&stage, &router);
    let trusting = |args: &[&str]| {
        let mut command = at(&router, &[args, &["--url", &proxy.url]].concat());
        Said::of(&command.env("SSL_CERT_FILE", &proxy.certificate).output().expect("runs"))
    };
    let said = trusting(&["channels"]).ok();
    assert_eq!(said.rows()[0][..2], ["echo", "running"], "{said:?}");
    // The attempts come as a stream.
    let said = trusting(&["send", "hello", "1", "--wait"]).ok();
    assert!(said.out.contains("echo: attempt 1 done"), "{said:?}");
    trusting(&["channels", "pause", "echo"]).ok();
}

#[test]
fn tls_that_fails_is_told_with_what_to_do() {
    let stage = Stage::new(On::Embedded);
    let router = stage.start();
    let proxy = Proxy::start(&stage, &router);
    let stranger = alone(&["channels", "--url", &proxy.url]);
    stranger.fails(69, &["no trusted connection", &proxy.url, "UnknownIssuer", "SSL_CERT_FILE"]);
    let plain = router.admin.replace("http://", "https://");
    alone(&["channels", "--url", &plain])
        .fails(69, &["no trusted connection", &plain, "without TLS (http://)"]);
}
