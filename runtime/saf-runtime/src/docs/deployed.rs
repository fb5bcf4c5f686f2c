//! The configurations that the image, docker-compose.yml and the chart run with: they can be loaded, together with the variables that stand
//! beside them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::config::Config;

/// What the chart sets, with a value such as it sets.
const CHART: [(&str, &str); 16] = [
    ("SAF__HTTP__LISTEN", "0.0.0.0:1378"),
    ("SAF__HTTP__TOKENS", "[{ file = \"/etc/saf/ingest/shop\" }, { file = \"/etc/saf/ingest/billing\" }]"),
    ("SAF__HTTP__ALLOW_ANONYMOUS", "true"),
    ("SAF__ADMIN__LISTEN", "0.0.0.0:1379"),
    ("SAF__ADMIN__TOKEN", "{ file = \"/etc/saf/admin/token\" }"),
    ("SAF__BROKER__KIND", "jetstream"),
    ("SAF__BROKER__PATH", "/var/lib/saf/store"),
    ("SAF__BROKER__URL", "nats://nats:4222,nats://other:4222"),
    ("SAF__BROKER__CREDS", "/etc/saf/nats/nats.creds"),
    ("SAF__BROKER__TOKEN", "{ env = \"SAF_NATS_TOKEN\" }"),
    ("SAF__BROKER__TLS__REQUIRED", "true"),
    ("SAF__BROKER__TLS__CA", "/etc/saf/nats-tls/ca.crt"),
    ("SAF__BROKER__TLS__CERT", "/etc/saf/nats-tls/tls.crt"),
    ("SAF__BROKER__TLS__KEY", "/etc/saf/nats-tls/tls.key"),
    ("SAF__HOST__CACHE", "/var/lib/saf/cache"),
    ("SAF__SHUTDOWN__GRACE", "20s"),
];

fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn load(path: &Path, vars: &[(&str, &str)]) -> Config {
    let vars = vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Config::load(path, vars).unwrap_or_else(|report| panic!("{report}"))
}

#[test]
fn the_image_and_the_compose_file_have_configurations_that_load() {
    let deploy = checkout().join("deploy");
    load(&deploy.join("image/router.toml"), &[("SAF__HTTP__ALLOW_ANONYMOUS", "true")]);
    for file in ["compose/router.toml", "compose/mqtt-out.toml"] {
        let config = load(&deploy.join(file), &[]);
        assert_eq!(config.broker.kind, saf_broker::Kind::Jetstream, "{file}");
    }
    // Both prepare the stream.
    let [streams, others] = ["compose/router.toml", "compose/mqtt-out.toml"]
        .map(|file| serde_json::to_value(load(&deploy.join(file), &[]).streams).expect("JSON"));
    assert_eq!(streams, others);
}

/// The text of `config: |` in values of the chart.
fn router_toml(values: &str) -> Option<String> {
    let lines = values.lines().skip_while(|line| *line != "config: |").skip(1);
    let block = lines.take_while(|line| line.is_empty() || line.starts_with("  "));
    let text: String = block.map(|line| line.trim_start_matches("  ").to_owned() + "\n").collect();
    (!text.is_empty()).then_some(text)
}

#[test]
fn the_chart_has_configurations_and_variables_that_load() {
    let chart = checkout().join("charts/saf-runtime");
    let template = fs::read_to_string(chart.join("templates/_pod.tpl")).expect("there");
    let set: BTreeSet<_> =
        template.lines().filter_map(|line| line.trim().strip_prefix("- name: SAF__")).collect();
    // The last part of these three is chosen by the template.
    let known = |name: &str| {
        CHART.iter().any(|(known, _)| known.strip_prefix("SAF__") == Some(name))
            || name == "BROKER__TLS__{{ upper $part }}"
            || name == "HOST__CACHE_MAX"
    };
    assert!(set.iter().all(|name| known(name)), "{set:?}");
    let folder = tempfile::tempdir().expect("a folder");
    let mut seen = 0;
    let ci = fs::read_dir(chart.join("ci")).expect("there").map(|entry| entry.expect("readable").path());
    for values in ci.chain([chart.join("values.yaml")]) {
        let Some(text) = router_toml(&fs::read_to_string(&values).expect("readable")) else { continue };
        let file = folder.path().join("router.toml");
        fs::write(&file, text).expect("writable");
        let config = load(&file, &CHART);
        assert!(!config.channels.is_empty(), "{}", values.display());
        seen += 1;
    }
    assert!(seen > 1, "the chart's own values, and a set of ci/");
}
