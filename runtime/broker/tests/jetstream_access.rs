//! Getting in: every way to log in, TLS, secrets that change, and servers that will not do.

#![allow(unreachable_pub, clippy::expect_used)] // a test crate: what is not there fails the test

#[allow(dead_code)]
#[path = "contract/scene.rs"]
mod scene;
mod support;

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nkeys::KeyPair;
use saf_broker::{Config, Error, Health, Tls};
use saf_event::Secret;
use serde_json::{Value, json};

use self::scene::{PATIENCE, event, plan, publish, stream, until};
use self::support::NatsServer;

/// Opens, prepares and publishes.
async fn works(config: &Config) -> Result<(), Error> {
    let broker = saf_broker::open(config).await?;
    broker.prepare(&plan(&[])).await?;
    publish(&broker, "a", "1").await;
    broker.close(Duration::from_secs(5)).await;
    Ok(())
}

/// Writes a secret into a file of the server's folder.
fn secret(server: &NatsServer, name: &str, text: &str) -> Secret {
    let path = server.file(name);
    std::fs::write(&path, format!("{text}\n")).expect("a secret");
    Secret::File(path)
}

#[tokio::test]
async fn user_and_password_let_in() {
    let server = NatsServer::with("authorization { user: me, password: s3cret }");
    let config = Config {
        user: Some("me".into()),
        password: Some(secret(&server, "password", "s3cret")),
        ..server.config()
    };
    works(&config).await.expect("it works");
}

#[tokio::test]
async fn a_token_lets_in() {
    let server = NatsServer::with("authorization { token: t0ken }");
    let config = Config { token: Some(secret(&server, "token", "t0ken")), ..server.config() };
    works(&config).await.expect("it works");
}

#[tokio::test]
async fn an_nkey_lets_in() {
    let user = KeyPair::new_user();
    let server =
        NatsServer::with(&format!("authorization {{ users: [ {{ nkey: {} }} ] }}", user.public_key()));
    let seed = user.seed().expect("a seed");
    let config = Config { nkey: Some(secret(&server, "seed", &seed)), ..server.config() };
    works(&config).await.expect("it works");
}

/// A token of NATS' own kind: claims of `subject`, signed by `issuer`.
fn jwt(issuer: &KeyPair, subject: &KeyPair, nats: &Value) -> String {
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let claims = json!({
        "jti": subject.public_key(), "iat": 1_700_000_000, "iss": issuer.public_key(), "sub": subject.public_key(),
        "name": "test", "nats": nats,
    });
    let signed = format!("{}.{}", encode(&json!({ "typ": "JWT", "alg": "ed25519-nkey" })), encode(&claims));
    let signature = issuer.sign(signed.as_bytes()).expect("a signature");
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

#[tokio::test]
async fn a_credentials_file_lets_in() {
    let (operator, account, user) = (KeyPair::new_operator(), KeyPair::new_account(), KeyPair::new_user());
    let limits = json!({
        "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1, "leaf": -1,
        "mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1,
    });
    let operator_jwt = jwt(&operator, &operator, &json!({ "type": "operator", "version": 2 }));
    let account_jwt = jwt(&operator, &account, &json!({ "limits": limits, "type": "account", "version": 2 }));
    let nats =
        json!({ "pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1, "type": "user", "version": 2 });
    let user_jwt = jwt(&account, &user, &nats);
    let system = KeyPair::new_account();
    let system_jwt = jwt(&operator, &system, &json!({ "type": "account", "version": 2 }));
    let server = NatsServer::with(&format!(
        "operator: {operator_jwt}\nresolver: MEMORY\nsystem_account: {system}\n\
         resolver_preload: {{ {account}: {account_jwt}, {system}: {system_jwt} }}",
        account = account.public_key(),
        system = system.public_key(),
    ));
    let creds = server.file("user.creds");
    let seed = user.seed().expect("a seed");
    std::fs::write(
        &creds,
        format!(
            "-----BEGIN NATS USER JWT-----\n{user_jwt}\n------END NATS USER JWT------\n\n************************* IMPORTANT *************************\n\
             NKEY Seed printed below can be used to sign and prove identity.\n\n-----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        ),
    )
    .expect("a credentials file");
    works(&Config { creds: Some(creds), ..server.config() }).await.expect("it works");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_secret_is_read_at_the_next_connect() {
    let lines = |password: &str| format!("authorization {{ user: me, password: {password} }}\n");
    let mut server = NatsServer::with(&lines("first"));
    let password = secret(&server, "password", "first");
    let config = Config { user: Some("me".into()), password: Some(password), ..server.config() };
    let broker = saf_broker::open(&config).await.expect("a broker");
    broker.prepare(&plan(&[])).await.expect("prepared");
    server.stop();
    server.reconfigure(&lines("second"));
    secret(&server, "password", "second");
    server.run();
    let mut health = broker.health();
    let up = health.wait_for(|health| *health == Health::Up);
    tokio::time::timeout(PATIENCE, up).await.expect("in time").expect("watched");
    until("it is let in again", async || broker.publish(&stream(), event("a", "1")).await.is_ok()).await;
}

#[tokio::test]
async fn a_wrong_password_says_what_to_check_and_does_not_show_it() {
    let server = NatsServer::with("authorization { user: me, password: s3cret }");
    let config = Config {
        user: Some("me".into()),
        password: Some(secret(&server, "password", "wr0ng")),
        ..server.config()
    };
    let Err(Error::Unavailable(text)) = works(&config).await else { panic!("it must not work") };
    assert!(text.contains("authorization violation") && text.contains("credentials"), "{text}");
    assert!(!text.contains("wr0ng"), "{text}");
}

struct Certificates {
    authority: rcgen::CertifiedIssuer<'static, rcgen::KeyPair>,
}

impl Certificates {
    fn new() -> Self {
        let mut params = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, "test authority");
        let key = rcgen::KeyPair::generate().expect("a key");
        Self { authority: rcgen::CertifiedIssuer::self_signed(params, key).expect("an authority") }
    }

    fn authority(&self) -> String {
        self.authority.as_ref().pem()
    }

    /// A certificate and its key.
    fn issue(&self) -> (String, String) {
        let params =
            rcgen::CertificateParams::new(vec!["127.0.0.1".into(), "localhost".into()]).expect("parameters");
        let key = rcgen::KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.authority).expect("a certificate");
        (certificate.pem(), key.serialize_pem())
    }
}

#[tokio::test]
async fn tls_with_certificates_on_both_sides_lets_in() {
    for (first, lines) in [(false, ""), (true, "handshake_first: true")] {
        let certificates = Certificates::new();
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).expect("a file");
            path
        };
        let (ca, (cert, key)) = (write("ca.pem", &certificates.authority()), certificates.issue());
        let (cert, key) = (write("server.pem", &cert), write("server.key", &key));
        let server = NatsServer::with(&format!(
            "tls {{ cert_file: \"{}\", key_file: \"{}\", ca_file: \"{}\", verify: true, {lines} }}",
            cert.display(),
            key.display(),
            ca.display()
        ));
        let (cert, key) = certificates.issue();
        let (cert, key) = (write("client.pem", &cert), write("client.key", &key));
        let tls = Tls { required: true, first, ca: Some(ca), cert: Some(cert), key: Some(key) };
        let config = Config { tls, ..server.config() };
        works(&config).await.unwrap_or_else(|error| panic!("handshake first: {first}: {error}"));
    }
}

#[tokio::test]
async fn a_server_without_jetstream_says_so() {
    let server = NatsServer::without_jetstream();
    let broker = saf_broker::open(&server.config()).await.expect("a connection");
    let Err(Error::Config(text)) = broker.prepare(&plan(&[])).await else { panic!("it must not work") };
    assert!(text.contains("no JetStream"), "{text}");
}
