//! What a call costs: `cargo run --release -p saf-host --example call -- guests/dist/rust/echo.wasm`. Prints microseconds an event of
//! 256 bytes and two headers, in one instance that is leased afresh for every event, and with an instance for every event.

use std::path::PathBuf;
use std::time::Instant;

use saf_event::{ChannelName, Event, EventId, Headers, Subject};
use saf_host::{Config, Grants, Host, Isolation, Limits, Pool, Recycle, Setup};

const EVENTS: u32 = 100_000;
const ROUNDS: u32 = 5;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = PathBuf::from(std::env::args().nth(1).ok_or("give the path of a component")?);
    let cache = std::env::temp_dir().join(format!("saf-call-{}", std::process::id()));
    let host = Host::new(&Config { cache: cache.clone(), ..Config::default() })?;
    let component = host.load(&path).await?;
    let mut headers = Headers::new();
    headers.push("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")?;
    headers.push("x-source", "orders")?;
    let event = Event {
        sequence: 1,
        id: EventId::generate(),
        subject: Subject::parse("ride.accepted")?,
        time: 1_796_000_000_000,
        content_type: Some("application/json".into()),
        headers,
        data: vec![b'x'; 256].into(),
        lineage: None,
    };
    for isolation in [Isolation::Instance, Isolation::Event] {
        let setup = Setup {
            channel: ChannelName::parse("call")?,
            limits: Limits::default(),
            instances: Recycle { isolation, ..Recycle::default() },
            grants: Grants::default(),
            config_json: "{}".into(),
            answers_to: None,
            state: None,
        };
        let pool = Pool::new(&host, component.clone(), setup);
        let micros = measure(&pool, &event).await?;
        println!("{isolation:?}: {micros:.2} us");
    }
    std::fs::remove_dir_all(cache)?;
    Ok(())
}

/// The best of some rounds: the others were disturbed.
async fn measure(pool: &Pool, event: &Event) -> Result<f64, saf_host::StartError> {
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        let began = Instant::now();
        for _ in 0..EVENTS {
            pool.acquire().await?.call(event, 1).await;
        }
        best = best.min(began.elapsed().as_secs_f64() * 1e6 / f64::from(EVENTS));
    }
    Ok(best)
}
