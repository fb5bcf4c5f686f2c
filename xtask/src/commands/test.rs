//! `cargo xtask test`: everything the tests need, then all tests. Tests run real parts: guests as components, a real
//! nats-server, real webhook payloads. They find them by environment variables:
//!
//! | variable | what |
//! | --- | --- |
//! | `SAF_GUESTS` | the folder `guests/dist`, with `rust/echo.wasm` and so on |
//! | `NATS_SERVER` | the nats-server program |
//! | `SAF_WEBHOOK_EXAMPLES` | the JSON file with example webhooks; not set where there is no npm |
//!
//! `OTELCOL`, `PROMETHEUS` and `PROMTOOL` name programs that the tests of telemetry use where they are there: `cargo xtask deploy-tools otelcol promtool`
//! builds two of them. `MOSQUITTO` is passed on when it is set: it names mosquitto, another broker that the guest `mqtt` is tested with, when that is not in PATH.

use std::ffi::OsString;
use std::process::Command;

use crate::commands::{deploy, guests};
use crate::step;
use crate::tools::{self, WebhookExamples};
use crate::workspace::Workspace;

/// Without arguments all tests of the router and the guests; with arguments, what `cargo test <arguments>` selects.
pub(crate) fn run(workspace: &Workspace, arguments: &[OsString]) -> anyhow::Result<()> {
    let nats_server = tools::nats_server(workspace)?;
    let examples = tools::webhook_examples(workspace)?;
    let skipped =
        "==> SKIPPED: tests with GitHub's example webhooks, because npm is missing. Install Node.js with npm";
    guests::build(workspace, &[])?;
    let with_parts = |mut command: Command| {
        command.env("NATS_SERVER", &nats_server).env("SAF_GUESTS", workspace.components());
        examples.pass_to(&mut command);
        command
    };
    if let WebhookExamples::NoNpm = examples {
        eprintln!("{skipped}");
    }
    if arguments.is_empty() {
        guests::test(workspace, &examples)?;
        deploy::test_quickly(workspace)?;
        let mut test = with_parts(workspace.cargo(&["test", "--workspace", "--no-fail-fast"]));
        step::run("testing the router", &mut test)?;
    } else {
        let mut test = with_parts(workspace.cargo(&["test"]));
        step::run("testing the router", test.args(arguments))?;
    }
    if let WebhookExamples::NoNpm = examples {
        eprintln!("{skipped}");
    }
    Ok(())
}
