//! On NATS the work can be divided between processes: producers take events in, consumers run Channels. The health check of a
//! container asks any of them.

#![allow(clippy::expect_used, reason = "a test that finds something else should stop there")]

mod support;

use std::process::{Command, Output};

use serde_json::{Value, json};
use support::{On, Router, Stage, until};

fn stage() -> Stage {
    Stage::new(On::JetStream).channel("echo", "echo", &["hello"], "emit.subjects = [\"echo.>\"]")
}

fn readyz(router: &Router) -> (u16, Value) {
    let reply = router.get("/readyz");
    (reply.status, reply.json())
}

/// `saf-runtime health`: its exit code and all it said.
fn health(arguments: &[&str], stage: &Stage) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_saf-runtime"));
    command.arg("health").args(arguments).envs(stage.env.iter().cloned()).env_remove("SAF_URL");
    let Output { status, stdout, stderr } = command.output().expect("starts");
    (status.code(), String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned())
}

#[test]
fn a_producer_and_a_consumer_together_handle_an_event() {
    let stage = stage();
    let producer = stage.start_as("producer");
    assert_eq!(producer.post(&json!({"subject": "hello", "id": "1", "data": 1})).status, 202);
    let (status, ready) = readyz(&producer);
    assert_eq!((status, &ready["role"], &ready["channels"]["running"]), (200, &json!("producer"), &json!(0)));

    let consumer = stage.start_as("consumer");
    assert_eq!(consumer.ingest, "", "a consumer takes no events in");
    let (status, ready) = readyz(&consumer);
    assert_eq!((status, &ready["role"], &ready["channels"]["running"]), (200, &json!("consumer"), &json!(1)));
    // What was posted before it came waits in the stream.
    assert_eq!(producer.post(&json!({"subject": "hello", "id": "2", "data": 2})).status, 202);
    for router in [&producer, &consumer] {
        until("both echoes", || (router.events("echo.hello").len() == 2).then_some(()));
    }
    assert_eq!(consumer.attempts("echo", "done"), 2);
    assert_eq!(producer.all("/api/v1/channels"), Vec::<Value>::new());
    assert!(producer.terminate().success() && consumer.terminate().success());
}

#[test]
fn a_producer_needs_no_component() {
    let stage = stage().component("missing", "/nowhere/missing.wasm".as_ref(), &["x"], "");
    let producer = stage.start_as("producer");
    assert_eq!(readyz(&producer).0, 200);
}

#[test]
fn the_embedded_store_has_one_process() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("router.toml");
    std::fs::write(&config, "[http]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n")
        .expect("writable");
    for role in ["producer", "consumer"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_saf-runtime"));
        let output = command.args(["run", "--role", role, "--config"]).arg(&config).output().expect("starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{said}");
        assert!(said.contains(&format!("--role {role}")) && said.contains("kind = \"jetstream\""), "{said}");
    }
}

#[test]
fn health_says_what_a_container_engine_asks() {
    let mut stage = stage();
    let router = stage.start();
    for url in [&router.ingest, &router.admin] {
        let (code, said) = health(&["--url", url], &stage);
        assert_eq!(code, Some(0), "{said}");
        let ready: Value = serde_json::from_str(&said).expect("what /readyz says");
        assert_eq!((&ready["ready"], &ready["role"]), (&json!(true), &json!("all")));
    }
    // As in an image: the file is named by a variable, and says where the router listens.
    let config = stage.folder.path().join("router.toml");
    let port = router.admin.rsplit_once(':').expect("a port").1.to_owned();
    stage = stage
        .env("SAF_CONFIG", &config.display().to_string())
        .env("SAF__ADMIN__LISTEN", &format!("127.0.0.1:{port}"));
    assert_eq!(health(&[], &stage).0, Some(0));

    stage.nats.as_mut().expect("on NATS").stop();
    let admin = router.admin.clone();
    until("503", || (health(&["--url", &admin], &stage).0 == Some(1)).then_some(()));
    router.kill();
    let (code, said) = health(&["--url", &admin], &stage);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("cannot reach the router"), "{said}");
}
