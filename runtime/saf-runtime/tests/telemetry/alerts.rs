//! Alerts: each by promtool, and lag, dead letters and a broker that is away on a real router: the rule's own expression, on what was
//! scraped, by a real Prometheus where there is one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::parts::{self, Running, find_or_skip};
use crate::support::{On, Router, Stage, free_port, until};

fn deployed(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/prometheus").join(file)
}

#[test]
fn every_alert_fires_when_it_should_and_not_before() {
    let Some(promtool) = find_or_skip("promtool", parts::PROMTOOL) else { return };
    let test = Command::new(&promtool)
        .args(["test", "rules"])
        .arg(deployed("rules.test.yaml"))
        .output()
        .expect("runs");
    assert!(
        test.status.success(),
        "{}{}",
        String::from_utf8_lossy(&test.stdout),
        String::from_utf8_lossy(&test.stderr)
    );
    let check =
        Command::new(&promtool).args(["check", "rules"]).arg(deployed("rules.yaml")).output().expect("runs");
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
}

/// A Prometheus that scrapes a router each second, with our rules without their waiting.
struct Prometheus {
    _running: Running,
    url: String,
    agent: ureq::Agent,
}

impl Prometheus {
    fn start(program: &Path, folder: &Path, router: &Router) -> Self {
        let rules = fs::read_to_string(deployed("rules.yaml")).expect("readable");
        let hasty: Vec<_> = rules.lines().filter(|line| !line.trim_start().starts_with("for: ")).collect();
        // Five minutes of lag are five seconds here.
        let hasty = hasty.join("\n").replace("lag_seconds > 300", "lag_seconds > 1");
        fs::write(folder.join("rules.yaml"), hasty).expect("writable");
        let target = router.admin.trim_start_matches("http://");
        let config = format!(
            "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\nrule_files: [rules.yaml]\nscrape_configs:\n  - job_name: saf\n    \
             static_configs: [{{ targets: [{target:?}] }}]\n"
        );
        fs::write(folder.join("prometheus.yml"), config).expect("writable");
        let port = free_port();
        let running = Running::start(
            Command::new(program)
                .arg(format!("--config.file={}", folder.join("prometheus.yml").display()))
                .arg(format!("--storage.tsdb.path={}", folder.join("tsdb").display()))
                .arg(format!("--web.listen-address=127.0.0.1:{port}")),
        );
        let agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let prometheus = Self { _running: running, url: format!("http://127.0.0.1:{port}"), agent };
        until("Prometheus", || {
            crate::support::send(&prometheus.agent, "GET", &format!("{}/-/ready", prometheus.url), &[], &[])
                .ok()
                .filter(|reply| reply.status == 200)
        });
        prometheus
    }

    fn alerts(&self) -> Vec<Value> {
        let url = format!("{}/api/v1/alerts", self.url);
        let reply = crate::support::send(&self.agent, "GET", &url, &[], &[]).expect("answers");
        reply.json()["data"]["alerts"].as_array().cloned().unwrap_or_default()
    }

    #[track_caller]
    fn wait(&self, alert: &str) -> Value {
        let fires = |found: &Value| found["labels"]["alertname"] == alert && found["state"] == "firing";
        until(alert, || self.alerts().into_iter().find(fires))
    }
}

#[test]
fn lag_dead_letters_and_a_broker_that_is_away_are_seen_on_a_real_router() {
    let mut stage = Stage::new(On::JetStream)
        .channel("slow", "sink", &["in"], "ack_wait = \"4s\"\nlimits.timeout = \"1s\"")
        .channel("fail", "fail", &["bad"], "max_attempts = 1");
    let router = stage.start();
    let how = "install Prometheus (Debian: apt-get install prometheus)";
    let program = find_or_skip("prometheus", how);
    let prometheus = program.map(|program| Prometheus::start(&program, stage.folder.path(), &router));
    router.admin("POST", "/api/v1/channels/slow/pause", "");
    until("a pause", || (router.channel("slow")["state"] == "paused").then_some(()));
    router.post(&json!({"subject": "in"}));
    until("some lag", || {
        (router.metric("saf_channel_lag_seconds", &["channel=\"slow\""]) > 1.0).then_some(())
    });
    if let Some(prometheus) = &prometheus {
        // Paused Channels are behind because somebody wants it: that has an alert of its own.
        let alert = prometheus.wait("ChannelPaused");
        assert_eq!(alert["labels"]["channel"], "slow");
        assert!(prometheus.alerts().iter().all(|alert| alert["labels"]["alertname"] != "ChannelLagging"));
    }
    router.post_raw("bad", &[], "reject");
    until("a dead letter", || {
        (router.metric("saf_channel_dead_letters_total", &["channel=\"fail\""]) >= 1.0).then_some(())
    });
    if let Some(prometheus) = &prometheus {
        let alert = prometheus.wait("DeadLettersGrowing");
        assert_eq!(alert["annotations"]["summary"], "Channel fail gives events up");
    }
    stage.nats.as_mut().expect("on JetStream").stop();
    until("the broker is away", || (router.metric("saf_broker_up", &[]) < 1.0).then_some(()));
    if let Some(prometheus) = &prometheus {
        prometheus.wait("BrokerDown");
    }
    assert_eq!(router.post(&json!({"subject": "in"})).status, 503);
    let unavailable = ["outcome=\"unavailable\""];
    assert!(router.metric("saf_ingest_events_total", &unavailable) >= 1.0);
    stage.nats.as_mut().expect("on JetStream").start_again();
    until("the broker is back", || (router.metric("saf_broker_up", &[]) > 0.0).then_some(()));
    until("a reconnect", || (router.metric("saf_broker_reconnects_total", &[]) >= 1.0).then_some(()));
}

#[test]
fn a_channel_that_runs_and_is_behind_raises_the_alert() {
    // One event at a time, and one that fails holds the rest up.
    let stage = Stage::new(On::Embedded).channel(
        "behind",
        "fail",
        &["bad"],
        "order = \"all\"\nmax_attempts = 60\nbackoff = [\"1s\"]\nack_wait = \"4s\"\nlimits.timeout = \"1s\"",
    );
    let router = stage.start();
    for _ in 0..3 {
        router.post_raw("bad", &[], "backoff");
    }
    let lag = || router.metric("saf_channel_lag_seconds", &["channel=\"behind\""]);
    until("some lag", || (lag() > 1.0).then_some(()));
    assert!(router.metric("saf_channel_state", &["channel=\"behind\"", "state=\"running\""]) > 0.0);
    let Some(program) = find_or_skip("prometheus", "install Prometheus") else { return };
    let prometheus = Prometheus::start(&program, stage.folder.path(), &router);
    assert_eq!(prometheus.wait("ChannelLagging")["labels"]["channel"], "behind");
}
