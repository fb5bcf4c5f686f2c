//! A nats-server of our own: JetStream on file storage, loopback, a folder and a port of its own. It syncs when it always does:
//! lazily.

use std::fs::File;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

const START: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(5);

pub(crate) struct Nats {
    child: Child,
    pub(crate) url: String,
}

impl Nats {
    /// Starts it and waits until it listens.
    pub(crate) fn start(program: &Path, folder: &Path) -> anyhow::Result<Self> {
        let port = free_port()?;
        let store = folder.join("nats");
        std::fs::create_dir_all(&store)?;
        // Room for the streams' usual limits, whatever the disk has left: the server's own default depends on that.
        let config = folder.join("nats.conf");
        std::fs::write(&config, "jetstream { max_file_store: 1TB }\n")?;
        let child = Command::new(program)
            .args(["-js", "-a", "127.0.0.1", "-p", &port.to_string(), "-sd"])
            .arg(store)
            .arg("-c")
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(folder.join("nats.log"))?)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let nats = Self { child, url: format!("nats://127.0.0.1:{port}") };
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            ensure!(began.elapsed() < START, "nats-server does not listen after {START:?}");
            std::thread::sleep(POLL);
        }
        Ok(nats)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
