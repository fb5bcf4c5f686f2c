//! `top` and `graph` with a router: what they show is what happens.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::said::{Said, alone, ask, at, echo};
use crate::support::{On, Router, Stage, guest_path, until};

/// Posts until a command that measures has seen enough.
fn said_under_load(router: &Router, args: &[&str]) -> Said {
    let mut measuring = at(router, args).spawn().expect("starts");
    until("the measurement", || {
        router.post(&json!({"subject": "hello", "data": 1}));
        measuring.try_wait().expect("waits")
    });
    Said::of(&measuring.wait_with_output().expect("ends"))
}

#[test]
fn top_once_measures_one_interval() {
    for on in crate::support::BOTH {
        let stage = echo(on);
        let router = stage.start();
        let said = said_under_load(&router, &["top", "--once", "--interval", "1s", "--format", "json"]).ok();
        let figures: Vec<Value> = serde_json::from_str(&said.out).expect("one document");
        let echo = &figures[0];
        assert_eq!((figures.len(), &echo["channel"], &echo["state"]), (1, &json!("echo"), &json!("running")));
        let rate = |name: &str| echo[name].as_f64().unwrap_or_else(|| panic!("no {name}: {echo}"));
        assert!(rate("attempts_per_second") > 0.0 && rate("failures_per_second") == 0.0, "{echo}");
        assert!((rate("emissions_per_second") - rate("attempts_per_second")).abs() < 5.0, "{echo}");
        assert!(rate("p50_us") > 0.0 && rate("p99_us") >= rate("p50_us"), "{echo}");
        assert!(rate("fuel_per_attempt") > 100.0 && rate("peak_memory_bytes") > 65_535.0, "{echo}");
        stage.settled(&router, "echo");
        let said = ask(&router, &["top", "--once", "--interval", "100ms", "--format", "table"]).ok();
        let row = said.rows()[0].iter().map(ToString::to_string).collect::<Vec<_>>();
        assert!(said.out.starts_with("CHANNEL") && said.out.contains("EVENTS/S▼"), "{said:?}");
        // An idle Channel has no percentiles, and is not behind.
        assert_eq!(row[..6], ["echo", "running", "0", "0", "-", "-"], "{said:?}");
        assert!(said.out.contains("  0 ms  "), "{said:?}");
    }
}

#[test]
fn an_event_that_waits_is_pending_and_says_since_when() {
    for on in crate::support::BOTH {
        let stage = echo(on);
        let router = stage.start();
        ask(&router, &["channels", "pause", "echo"]).ok();
        until("the pause", || (router.channel("echo")["state"] == "paused").then_some(()));
        router.post(&json!({"subject": "hello"}));
        router.post(&json!({"subject": "other"}));
        until("a lag of some milliseconds", || {
            let said = ask(&router, &["top", "--once", "--interval", "100ms", "--format", "ndjson"]).ok();
            let echo = &said.json_lines()[0];
            // A pull that was open at the pause may have brought it; it is given back.
            let behind = echo["pending"].as_u64()? + echo["unsettled"].as_u64()?;
            assert_eq!(behind, 1, "{echo}");
            (echo["lag_ms"].as_u64()? > 50).then_some(())
        });
        let said = ask(&router, &["channels", "list", "--format", "ndjson"]).ok();
        let lag = &said.json_lines()[0]["lag"];
        assert_eq!(
            lag["pending"].as_u64().max(lag["unsettled"].as_u64()),
            Some(1),
            "the listing asks now, too: {said:?}"
        );
    }
}

#[test]
fn a_pipe_gets_json_lines_and_a_router_that_is_away_is_waited_for() {
    let stage = echo(On::Embedded);
    let router = stage.start();
    let mut top = at(&router, &["top", "--interval", "100ms"]).spawn().expect("starts");
    let mut lines = BufReader::new(top.stdout.take().expect("piped")).lines();
    for _ in 0..3 {
        let line = lines.next().expect("a line").expect("text");
        let figures: Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!((&figures["channel"], &figures["dead_letters"]), (&json!("echo"), &json!(0)), "{figures}");
    }
    assert!(router.terminate().success());
    let mut errors = BufReader::new(top.stderr.take().expect("piped")).lines();
    let mut error = || errors.next().expect("a line").expect("text");
    assert!(error().contains("the router"));
    assert_eq!(error(), "trying again");
    assert!(top.try_wait().expect("waits").is_none(), "it goes on");
    top.kill().expect("runs");
    top.wait().expect("ends");
    alone(&["top", "--once", "--url", "http://127.0.0.1:9"]).fails(69, &["cannot reach the router"]);
}

#[test]
fn top_ends_with_its_reader_and_refuses_a_wrong_token() {
    let stage =
        echo(On::Embedded).env("SAF__ADMIN__TOKEN__ENV", "ADMIN_SECRET").env("ADMIN_SECRET", "s3cret");
    let router = stage.start();
    ask(&router, &["top"]).fails(1, &["set SAF_TOKEN", "401"]);
    let mut top =
        at(&router, &["top", "--interval", "100ms"]).env("SAF_TOKEN", "s3cret").spawn().expect("starts");
    let mut line = String::new();
    BufReader::new(top.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
    assert!(line.contains("\"echo\""), "{line}");
    assert!(until("the end", || top.try_wait().expect("waits")).success());
}

/// A terminal around a command: its keys on standard input, what it draws on standard output, its exit code as its own.
const TERMINAL: &str = "\
import fcntl, os, pty, select, struct, sys, termios
child, terminal = pty.fork()
if child == 0:
    os.execv(sys.argv[1], sys.argv[1:])
fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack('HHHH', 12, 100, 0, 0))
watched = [terminal, 0]
while True:
    for ready in select.select(watched, [], [])[0]:
        try:
            data = os.read(ready, 4096)
        except OSError:
            data = b''
        if ready == terminal and not data:
            sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        if not data:
            watched.remove(ready)
        else:
            os.write(terminal if ready == 0 else 1, data)
";

#[test]
fn a_terminal_has_a_screen_that_gives_it_back() {
    let stage = echo(On::Embedded);
    let router = stage.start();
    for (environment, end) in [(("TERM", "xterm"), "q"), (("NO_COLOR", "1"), "\u{3}")] {
        let mut terminal = Command::new("python3");
        terminal.args(["-c", TERMINAL, env!("CARGO_BIN_EXE_saf-runtime"), "top", "--interval", "100ms"]);
        terminal.env("SAF_URL", &router.admin).env("TERM", "xterm").env(environment.0, environment.1);
        let mut top =
            terminal.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python3 is there");
        let (mut keys, mut screen) = (top.stdin.take().expect("piped"), top.stdout.take().expect("piped"));
        let mut drawn = String::new();
        let mut see = |part: &str| {
            let mut buffer = [0; 4096];
            while !drawn.contains(part) {
                let n = screen.read(&mut buffer).expect("readable");
                assert!(n > 0, "it ended without {part:?}: {drawn:?}");
                drawn.push_str(&String::from_utf8_lossy(&buffer[..n]));
            }
            std::mem::take(&mut drawn)
        };
        let opened = see("1 Channels");
        assert!(opened.contains("\u{1b}[?1049h") && opened.contains("saf-runtime top"), "{opened:?}");
        let coloured = see("q quit").contains("\u{1b}[32m") || see("q quit").contains("\u{1b}[32m");
        assert_eq!(coloured, environment.0 == "TERM", "NO_COLOR is honoured");
        keys.write_all(b"\x1b[D").expect("taken");
        see("STATE▼");
        keys.write_all(end.as_bytes()).expect("taken");
        see("\u{1b}[?1049l");
        drop(keys);
        assert!(until("the end", || top.try_wait().expect("waits")).success());
    }
}

#[test]
fn a_graph_needs_no_router_and_shows_rates_with_one() {
    let stage: Stage = echo(On::Embedded).channel("printer", "printer", &["hello", "echo.>"], "");
    let config = stage.folder.path().join("router.toml");
    std::fs::write(&config, stage.config()).expect("writable");
    let config = config.to_str().expect("text");
    let said = alone(&["graph", "--config", config]).ok();
    assert!(said.out.contains("──▶ printer") && said.out.contains("note: no Channel feeds echo"), "{said:?}");
    let checked = alone(&["check", "--config", config]).ok();
    assert!(checked.out.contains("note: no Channel feeds echo"), "both say the same: {checked:?}");
    assert!(alone(&["graph", "--config", config, "--format", "dot"]).ok().out.starts_with("digraph saf {"));
    assert!(
        alone(&["graph", "--config", config, "--format", "mermaid"]).ok().out.starts_with("flowchart LR\n")
    );
    alone(&["graph", "--config", config, "--url", "http://127.0.0.1:9"])
        .fails(69, &["cannot reach the router"]);

    let router = stage.start();
    let said = said_under_load(&router, &["graph", "--config", config, "--url", &router.admin]).ok();
    assert!(
        said.out.contains(" events/s, 0 errors/s, ") && !said.out.contains("not running there"),
        "{said:?}"
    );
    std::fs::write(config, stage.config() + &new_channel()).expect("writable");
    let said = ask(&router, &["graph", "--config", config, "--url", &router.admin]).ok();
    assert!(said.out.contains("not running there"), "{said:?}");
}

fn new_channel() -> String {
    format!(
        "[channels.late]\ncomponent = {:?}\nsubjects = [\"late\"]\n",
        guest_path("sink").display().to_string()
    )
}
