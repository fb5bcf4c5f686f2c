//! A nats-server of a test's own: a free port, a folder that goes with the test.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::scene::until;

pub(crate) struct Nats {
    child: Child,
    port: u16,
}

impl Nats {
    pub(crate) async fn start(folder: &Path) -> Self {
        let binary = std::env::var_os("NATS_SERVER").expect(
            "this test needs a real nats-server: run `cargo xtask test`, or set NATS_SERVER to the path of one (2.12 or newer)",
        );
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        drop(listener);
        // Room for a stream's usual limit, whatever the disk has left: the server's own default depends on that.
        let config = folder.join("nats.conf");
        fs::write(&config, "jetstream { max_file_store: 1TB }\n").expect("writable");
        let child = Command::new(binary)
            .args(["-js", "-a", "127.0.0.1", "-p", &port.to_string(), "-sd"])
            .arg(folder.join("nats"))
            .arg("-c")
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("NATS_SERVER can be run");
        let nats = Self { child, port };
        until("nats-server listens", async || {
            TcpStream::connect_timeout(&(Ipv4Addr::LOCALHOST, port).into(), Duration::from_secs(1)).is_ok()
        })
        .await;
        nats
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        // A child that is gone already needs no end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
