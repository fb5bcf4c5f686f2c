//! What a guest writes is logged under the Channel's name, under a cap, and its end is kept for whoever asks why it trapped.

#![allow(clippy::expect_used, reason = "a test that finds None should stop there")]

mod support;

use std::sync::{Arc, Mutex};

use saf_host::{Case, Limits, Source, run_case};
use tracing::field::{Field, Visit};
use tracing::subscriber::set_default;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

use support::{call, counting, event, sandbox};

/// Keeps the events of target `guest` as `level channel stream text`.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<String>>>);

impl<S: tracing::Subscriber> Layer<S> for Kept {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() != "guest" {
            return;
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        let Fields { channel, stream, message } = fields;
        let line = format!("{} {channel} {stream} {message}", event.metadata().level());
        self.0.lock().expect("whole").push(line);
    }
}

#[derive(Default)]
struct Fields {
    channel: String,
    stream: String,
    message: String,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let text = format!("{value:?}");
        match field.name() {
            "channel" => self.channel = text,
            "stream" => self.stream = text.trim_matches('"').into(),
            "message" => self.message = text,
            _ => {}
        }
    }
}

#[tokio::test]
async fn stdout_and_stderr_are_lines_of_the_log() {
    let kept = Kept::default();
    let _logging = set_default(tracing_subscriber::registry().with(kept.clone()));
    let sandbox = sandbox();
    for (guest, data) in [("printer", "hello\nINFO forged"), ("hostile", "trap")] {
        let component = sandbox.guest(guest).await;
        call(&sandbox.pool(&component, |_| {}), data).await;
    }
    let lines = kept.0.lock().expect("whole");
    assert!(
        lines.iter().any(|line| line.starts_with("INFO test stdout 7 ride.accepted id-1 hello")),
        "{lines:?}"
    );
    assert!(
        lines.iter().any(|line| line.starts_with("WARN test stderr") && line.contains("panicked at")),
        "{lines:?}"
    );
    assert!(
        !lines.iter().any(|line| line.contains('\n') || line.starts_with("INFO test stdout INFO")),
        "{lines:?}"
    );
}

#[tokio::test]
async fn a_flood_is_cut_at_the_cap_and_counted() {
    let sandbox = sandbox();
    let hostile = sandbox.guest("hostile").await;
    let limits = Limits { log: saf_event::Size(1090), ..Limits::default() };
    let case =
        Case { event: event("log-flood 100"), attempt: 1, config_json: "{}".into(), limits, http: None };
    let report = run_case(&sandbox.host, &hostile, &case).await;
    report.call.expect("starts");
    let lines: Vec<_> = report.log.iter().filter(|line| line.source == Source::Stdout).collect();
    assert_eq!(lines.iter().map(|line| line.text.len() + 1).sum::<usize>(), 1091, "the last one is cut");
    let last = report.log.last().expect("a line");
    assert_eq!(last.source, Source::Host);
    assert_eq!(last.text, "… 9910 bytes of log dropped (limits.log is 1090 bytes)");
}

#[tokio::test]
async fn log_lines_have_the_guests_level() {
    let sandbox = sandbox();
    let imports = r#"(import "wasi:logging/logging@0.1.0-draft" "log" (func $log (param i32 i32 i32 i32 i32)))
        (data (i32.const 512) "partwords\nmore")"#;
    let log = |level| {
        format!(
            "(call $log (i32.const {level}) (i32.const 512) (i32.const 4) (i32.const 516) (i32.const 10))"
        )
    };
    let calls: String = (0..6).map(log).collect();
    let world = "package test:made; world made {
        include saf:channel/channel@0.1.0; import wasi:logging/logging@0.1.0-draft; }";
    let bytes = support::component(&counting(imports, "", &calls), world);
    let component = sandbox.host.load_bytes(bytes.into()).await.expect("loads");

    let kept = Kept::default();
    let _logging = set_default(tracing_subscriber::registry().with(kept.clone()));
    call(&sandbox.pool(&component, |_| {}), "").await;
    let lines = kept.0.lock().expect("whole");
    let expected = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "ERROR"];
    assert_eq!(*lines, expected.map(|level| format!("{level} test log words\\nmore")));
}

#[tokio::test]
async fn a_trap_carries_the_end_of_stderr_and_its_place_in_the_source() {
    let sandbox = sandbox();
    let hostile = sandbox.guest("hostile").await;
    let call = call(&sandbox.pool(&hostile, |_| {}), "trap").await;
    let fault = call.verdict.fault().expect("a fault");
    assert!(fault.stderr.contains("hostile was asked to trap"), "{}", fault.stderr);
    let backtrace = fault.backtrace.as_deref().expect("a backtrace");
    let frames: Vec<_> = backtrace.lines().collect();
    assert!(frames[0].trim_start().starts_with("0:"), "innermost first: {backtrace}");
    let place = backtrace.split("mode.rs:").nth(1).unwrap_or_else(|| panic!("no place: {backtrace}"));
    assert!(place.starts_with(|c: char| c.is_ascii_digit()), "{backtrace}");
    assert!(!backtrace.contains("17h") && !backtrace.contains("_ZN"), "demangled: {backtrace}");
}

#[tokio::test]
async fn the_stderr_of_one_event_is_not_the_next_ones() {
    let sandbox = sandbox();
    let hostile = sandbox.guest("hostile").await;
    let pool = sandbox.pool(&hostile, |setup| setup.limits.emissions = 0);
    let call = call(&pool, "many-emissions 1").await;
    assert_eq!(call.verdict.fault().expect("a fault").stderr, "");
}
