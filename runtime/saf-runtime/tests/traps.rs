//! What an author is told when a Channel breaks, in every language: the message and its file and line, in `dev`, in `test`, in the
//! dead letter, and on the terminal that shows it. And what it prints, when it prints it. The guests `fail` do as their event says.

#![allow(clippy::expect_used, reason = "a test that finds None should stop there")]
#![allow(clippy::unnecessary_debug_formatting, reason = "quoted as TOML wants it")]

mod support;

#[path = "cli/said.rs"]
#[allow(dead_code, reason = "it is shared with the tests of the other commands")]
mod said;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use said::{Said, ask, command};
use support::dev::Dev;
use support::{On, Stage, in_every_language, until};

/// By the guest's word, what it says.
const BREAKS: [(&str, &str); 2] = [("throw", "an exception"), ("trap", "asked to trap")];

/// So that a dead letter has more than one attempt.
const MAX_ATTEMPTS: usize = 2;

/// Where in its source a guest breaks, as `main.c:40`: the first line that has the words in quotes.
fn place(language: &str, message: &str) -> String {
    let file = match language {
        "rust" => "src/lib.rs".to_owned(),
        "python" => "main.py".to_owned(),
        other => format!("main.{other}"),
    };
    let guest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../guests").join(language).join("fail");
    let source = fs::read_to_string(guest.join(&file)).expect("a guest's source");
    let quoted = [format!("\"{message}\""), format!("'{message}'")];
    let line = source.lines().position(|line| quoted.iter().any(|quoted| line.contains(quoted)));
    format!("{file}:{}", line.expect("the words") + 1)
}

fn every_language(check: impl Fn(&str, &Path)) {
    let languages = in_every_language("fail");
    assert!(languages.iter().any(|(language, _)| language == "rust"), "{languages:?}");
    for (language, component) in languages {
        check(&language, &component);
    }
}

fn sections(max_attempts: usize) -> String {
    let mut text = String::new();
    for (language, component) in in_every_language("fail") {
        write!(
            text,
            "[channels.{language}]\ncomponent = {component:?}\nsubjects = [\"{language}.*\"]\n\
             max_attempts = {max_attempts}\nbackoff = [\"20ms\"]\n"
        )
        .expect("a string");
    }
    text
}

#[test]
fn dev_says_it_under_the_attempt() {
    let folder = TempDir::new().expect("a folder");
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("guest-cache");
    let listen = "[http]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n";
    // Of one attempt each: twenty lines a second are shown.
    let config = format!("{listen}[host]\ncache = {cache:?}\n{}", sections(1));
    fs::write(folder.path().join("router.toml"), config).expect("writable");
    let dev = Dev::start(folder.path(), &[]);
    every_language(|language, _| {
        dev.line(&["ready", &format!(" ──▶ {language}")]);
        for (word, message) in BREAKS {
            dev.post(&format!("{language}.{word}"), word);
            let last = [&*format!("{language}.{word} #"), "attempt 1/1, dead letter"];
            let shown = until("what it says", || {
                let said = dev.said();
                let found = said.lines().skip_while(|line| !last.iter().all(|part| line.contains(part)));
                // Until the next line with a time.
                let under = found.skip(1).take_while(|line| line.starts_with(' ')).map(str::to_owned);
                Some(under.collect::<Vec<_>>()).filter(|under| !under.is_empty())
            });
            let said = shown.join("\n");
            let place = place(language, message);
            assert!(
                shown[0].contains(message) && said.contains(&place),
                "{language}, {word}, {place}:\n{said}"
            );
        }
    });
}

#[test]
fn test_says_it_of_a_case_that_fails() {
    let folder = TempDir::new().expect("a folder");
    let config = folder.path().join("router.toml");
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("guest-cache");
    fs::write(&config, format!("[host]\ncache = {cache:?}\n{}", sections(MAX_ATTEMPTS))).expect("writable");
    every_language(|language, _| {
        for (word, message) in BREAKS {
            let case = folder.path().join(format!("{language}-{word}.json"));
            let text = json!({"event": {"subject": "a", "data": word}, "expect": {"emissions": []}});
            fs::write(&case, text.to_string()).expect("writable");
            let text = |path: &Path| path.to_str().expect("text").to_owned();
            let args = ["test", "--config", &text(&config), &text(&case), "--channel", language];
            let said = Said::of(&command(&args).output().expect("runs")).fails(1, &["1 case failed"]);
            let place = place(language, message);
            assert!(
                said.out.contains(message) && said.out.contains(&place),
                "{language}, {place}:\n{}",
                said.out
            );
        }
    });
}

#[test]
fn the_dead_letter_keeps_it_and_the_terminal_shows_it() {
    let mut stage = Stage::new(On::Embedded);
    stage.channels = sections(MAX_ATTEMPTS);
    let router = stage.start();
    every_language(|language, _| {
        for (word, message) in BREAKS {
            let subject = format!("{language}.{word}");
            assert_eq!(router.post_raw(&subject, &[], word).status, 202);
            let letter = until("a dead letter", || {
                router.dead_letters().into_iter().find(|letter| letter["event"]["subject"] == *subject)
            });
            let id = letter["id"].as_str().expect("text");
            let place = place(language, message);

            let whole = router.admin("GET", &format!("/api/v1/dead-letters/{id}"), "").json();
            assert_eq!(whole["attempts"].as_array().map(Vec::len), Some(MAX_ATTEMPTS), "{whole}");
            for attempt in whole["attempts"].as_array().expect("a list") {
                assert!(tells(attempt, message, &place), "{language}, {word}, {place}: {attempt:#}");
            }

            let said = ask(&router, &["dead-letters", "show", id]).ok();
            let shown = said.out.matches(&place).count();
            assert!(
                said.out.contains(message) && shown >= MAX_ATTEMPTS,
                "{language}, {place}:\n{}",
                said.out
            );
        }
    });
}

/// Whether reason, backtrace and stderr have the message and the place, in the form of a language's own.
fn tells(attempt: &Value, message: &str, place: &str) -> bool {
    let texts = ["reason", "backtrace", "stderr"].map(|part| attempt[part].as_str().unwrap_or_default());
    let (file, line) = place.split_once(':').expect("a line");
    let python = format!("{file}\", line {line},");
    texts.iter().any(|text| text.contains(message))
        && texts.iter().any(|text| text.contains(place) || text.contains(&python))
}

/// An event whose word is no `log` prints nothing: what stood in a buffer since the one before would show.
#[test]
fn what_a_guest_prints_is_logged_before_its_event_is_settled() {
    let mut stage = Stage::new(On::Embedded);
    for (language, component) in in_every_language("fail") {
        let rest = "concurrency = 1\nemit.subjects = [\"fail.count\"]";
        stage = stage.component(&language, &component, &[&format!("{language}.say")], rest);
    }
    let router = stage.start();
    every_language(|language, _| {
        let channel = format!("\"channel\":\"{language}\"");
        for (n, (word, lines)) in [("log", 1), ("count", 1), ("log", 2)].into_iter().enumerate() {
            assert_eq!(router.post_raw(&format!("{language}.say"), &[], word).status, 202);
            router.wait_attempts(language, "done", n + 1);
            for text in ["to stdout", "to stderr"] {
                let logged = router.log_lines(&["\"target\":\"guest\"", &channel, text]);
                assert_eq!(logged.len(), lines, "{language}, event {n}, {word}: {text}: {logged:?}");
            }
        }
    });
}
