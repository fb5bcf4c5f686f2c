//! What a running router says about itself: metrics on `/metrics` and by OTLP, traces, alerts. What is sent is read back by a receiver of
//! the test's own, and by a real OpenTelemetry collector, Prometheus and promtool where they are there (`OTELCOL`, `PROMETHEUS` and
//! `PROMTOOL` name them; else `PATH` and cargo's target folder are looked through).

#![allow(clippy::expect_used, reason = "a test that finds something else should stop there")]

#[path = "../support/mod.rs"]
mod support;

mod alerts;
mod away;
mod collector;
mod metrics;
mod parts;
mod receiver;
mod spans;
mod traces;
