//! Connections of a Channel's requests: names are looked up once a connection, what they lead to is checked, and TLS trusts what the
//! system trusts. No proxy, no HTTP/2, and nothing from the environment but the system's certificates.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use http::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use wasmtime_wasi_http::Error as WasiError;

use super::origin::{Scheme, Target};
use crate::capability::address;
use crate::capability::peer::Peer;

/// Opens connections; the allow-list was asked before.
#[derive(Clone)]
pub(crate) struct Connector {
    tls: Arc<ClientConfig>,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("not an address that can be connected to")]
    Uri,
    #[error("the name cannot be looked up: {0}")]
    Lookup(io::Error),
    #[error(
        "the name leads only to addresses that no name may lead to (loopback, link-local, metadata services)"
    )]
    Prohibited,
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    #[error("TLS failed: {0}")]
    Tls(io::Error),
}

impl ConnectError {
    /// The same in the guest's words.
    pub(crate) fn to_wasi(&self) -> WasiError {
        match self {
            Self::Uri => WasiError::HttpRequestUriInvalid,
            Self::Lookup(error) => WasiError::DnsError { rcode: Some(error.to_string()), info_code: None },
            Self::Prohibited => WasiError::DestinationIpProhibited,
            Self::Connect(error) => match error.kind() {
                io::ErrorKind::ConnectionRefused => WasiError::ConnectionRefused,
                io::ErrorKind::TimedOut => WasiError::ConnectionTimeout,
                io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
                    WasiError::DestinationUnavailable
                }
                _ => WasiError::ConnectionTerminated,
            },
            Self::Tls(error) => match error.get_ref().and_then(|inner| inner.downcast_ref()) {
                Some(rustls::Error::InvalidCertificate(_)) => WasiError::TlsCertificateError,
                _ => WasiError::TlsProtocolError,
            },
        }
    }
}

impl Connector {
    pub(crate) fn new(tls: Arc<ClientConfig>) -> Self {
        Self { tls }
    }

    async fn connect(self, uri: Uri) -> Result<TokioIo<Wire>, ConnectError> {
        let target = Target::of(&uri).ok_or(ConnectError::Uri)?;
        let stream = match &target.peer {
            Peer::Address(address) => open(&[SocketAddr::new(*address, target.port)]).await?,
            Peer::Name(name) => {
                let found = tokio::net::lookup_host((name.as_str(), target.port)).await;
                let found = address::permitted(name, found.map_err(ConnectError::Lookup)?);
                open(&found).await?
            }
        };
        // A request is written at once; waiting for more only delays it.
        stream.set_nodelay(true).map_err(ConnectError::Connect)?;
        match target.scheme {
            Scheme::Http => Ok(TokioIo::new(Wire(Box::pin(stream)))),
            Scheme::Https => {
                let server = match target.peer {
                    Peer::Address(address) => ServerName::from(address),
                    Peer::Name(name) => ServerName::try_from(name).map_err(|_| ConnectError::Uri)?,
                };
                let stream = TlsConnector::from(self.tls).connect(server, stream).await;
                Ok(TokioIo::new(Wire(Box::pin(stream.map_err(ConnectError::Tls)?))))
            }
        }
    }
}

async fn open(addresses: &[SocketAddr]) -> Result<TcpStream, ConnectError> {
    let mut last = ConnectError::Prohibited;
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = ConnectError::Connect(error),
        }
    }
    Err(last)
}

impl tower_service::Service<Uri> for Connector {
    type Response = TokioIo<Wire>;
    type Error = ConnectError;
    type Future = BoxFuture<'static, Result<Self::Response, ConnectError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().connect(uri))
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").finish_non_exhaustive()
    }
}

trait Duplex: AsyncRead + AsyncWrite + Send {}
impl<T: AsyncRead + AsyncWrite + Send> Duplex for T {}

/// An open connection, encrypted or not.
pub(crate) struct Wire(Pin<Box<dyn Duplex>>);

impl Connection for Wire {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.0.as_mut().poll_read(cx, buf)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.as_mut().poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.as_mut().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.as_mut().poll_shutdown(cx)
    }
}

/// TLS that trusts `roots` and nobody else.
pub(crate) fn trusting(roots: RootCertStore) -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    #[expect(clippy::expect_used, reason = "ring has suites for both of rustls' default versions")]
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has suites for TLS 1.2 and 1.3");
    Arc::new(config.with_root_certificates(roots).with_no_client_auth())
}

/// TLS that trusts what the system trusts; the certificates are read once a process, some milliseconds. A restart reads new ones.
pub(crate) fn trusting_the_system() -> Arc<ClientConfig> {
    static TLS: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    let tls = TLS.get_or_init(|| {
        let loaded = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        let (usable, _) = roots.add_parsable_certificates(loaded.certs);
        if usable == 0 {
            let problems: Vec<_> = loaded.errors.iter().map(ToString::to_string).collect();
            tracing::warn!(
                problems = problems.join("; "),
                "the system has no certificates of authorities: every https request of a Channel will fail; install \
                 ca-certificates, or set SSL_CERT_FILE"
            );
        }
        trusting(roots)
    });
    Arc::clone(tls)
}
