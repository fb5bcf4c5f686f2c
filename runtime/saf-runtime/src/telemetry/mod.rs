//! Logs, metrics and traces: where what the router says about itself goes. What it says stands in `saf-telemetry`.
//!
//! ```text
//! instruments --> SdkMeterProvider --> registry, read by /metrics
//!                                  \-> PeriodicReader --> OTLP      [metrics], every minute
//! spans ------> Tracer ------------------> sender ------> OTLP      [traces], every second
//! ```
//!
//! Nothing is pushed without an endpoint ([`Settings`]). What is pushed goes over HTTP as protobuf, by threads of its own that no event
//! waits for. Deliberately absent: gRPC, logs by OTLP (collectors read files and stderr), exemplars.

mod logs;
mod otlp;
mod process;
mod sender;
mod settings;
mod spans;

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::Context;
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Meter, MeterProvider};
use opentelemetry_sdk::metrics::{Instrument, PeriodicReader, SdkMeterProvider, Stream};
use saf_telemetry::{Ratio, Tracer, instruments};

use crate::config::Config as Everything;

pub(crate) use logs::{Config, start_logs, start_logs_beside};
pub(crate) use settings::{Metrics, Telemetry, Traces};

use sender::Sender;
use settings::Settings;

/// Most series of one instrument; OpenTelemetry's own limit of 2,000 is nine outcomes of 222 Channels, and folds the rest into one.
const MAX_SERIES: usize = 100_000;
/// What the last sending may take at the end; a collector that is away must not hold up a restart.
const LAST_SENDING: Duration = Duration::from_secs(3);

/// What measures and traces, and what sends it.
pub(crate) struct Instruments {
    pub(crate) meter: Meter,
    pub(crate) registry: prometheus::Registry,
    pub(crate) tracer: Tracer,
    /// Instruments live as long as this.
    provider: SdkMeterProvider,
    sender: Option<Sender>,
}

impl Instruments {
    /// Starts what the configuration asks for; fails where it, or a standard variable, cannot be used.
    pub(crate) fn start(config: &Everything) -> anyhow::Result<Self> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let settings = Settings::read(&config.telemetry, &config.metrics, &config.traces, variable)?;
        let registry = prometheus::Registry::new();
        let exporter = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .scope_info_enabled(false)
            .without_target_info();
        let unfolded = |_: &Instrument| Stream::builder().with_cardinality_limit(MAX_SERIES).build().ok();
        let mut provider = SdkMeterProvider::builder()
            .with_resource(settings.resource.clone())
            .with_reader(exporter.build()?)
            .with_view(unfolded);
        if let Some(push) = &settings.metrics {
            let exporter = otlp::metrics(push).context("metrics cannot be pushed")?;
            provider =
                provider.with_reader(PeriodicReader::builder(exporter).with_interval(push.every).build());
            tracing::info!(to = push.endpoint, every = ?push.every, "metrics are pushed by OTLP");
        }
        let (mut tracer, mut sender) = (Tracer::off(), None);
        if let Some((push, traces)) = &settings.traces {
            let exporter = otlp::spans(push, &settings.resource).context("traces cannot be sent")?;
            tracer = Tracer::new(Ratio::new(traces.ratio), traces.queue);
            sender = Some(Sender::start(tracer.clone(), exporter, push.every)?);
            tracing::info!(to = push.endpoint, ratio = traces.ratio, "traces are sent by OTLP");
        }
        let provider = provider.build();
        let meter = provider.meter("saf");
        describe(&meter, &tracer);
        Ok(Self { meter, registry, tracer, provider, sender })
    }

    /// Sends what is left, for [`LAST_SENDING`] at most.
    pub(crate) fn stop(self) {
        let Self { provider, sender, .. } = self;
        let (done, ended) = mpsc::channel();
        let finish = move || {
            sender.into_iter().for_each(Sender::stop);
            // An error is a collector that is away, which was said before.
            let _ = provider.shutdown();
            let _ = done.send(());
        };
        if thread::Builder::new().name("saf-telemetry".to_owned()).spawn(finish).is_ok()
            && ended.recv_timeout(LAST_SENDING).is_err()
        {
            tracing::warn!("the collector does not answer: the last metrics and spans are lost");
        }
    }
}

/// What the process says of itself.
fn describe(meter: &Meter, tracer: &Tracer) {
    process::observe(meter);
    instruments::BUILD_INFO.gauged(meter, |observer| {
        observer.observe(1, &[KeyValue::new("version", env!("CARGO_PKG_VERSION"))]);
    });
    let tracer = tracer.clone();
    instruments::TRACES_SPANS.counted(meter, move |observer| {
        let counts = tracer.counts();
        for (result, count) in [("sent", counts.sent), ("dropped", counts.dropped), ("failed", counts.failed)]
        {
            observer.observe(count, &[KeyValue::new("result", result)]);
        }
    });
}
