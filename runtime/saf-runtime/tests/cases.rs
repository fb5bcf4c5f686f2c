//! `saf-runtime test`: case files against real components, and stored events against a local build.

#![allow(clippy::expect_used, reason = "a test that finds None should stop there")]
#![allow(clippy::unnecessary_debug_formatting, reason = "quoted as TOML wants it")]

mod support;

#[path = "cli/said.rs"]
#[allow(dead_code, reason = "it is shared with the tests of the other commands")]
mod said;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use said::{Said, ask, command, hostile};
use support::{On, guest_path, until};

/// What guests do, by folder of cases: which guest, in which languages. What fails by an exception or a panic is not the same.
const TABLE: [(&str, &str, &[&str]); 6] = [
    ("echo", "echo", &["rust", "c", "cpp", "zig", "go", "python", "js", "ts"]),
    ("enrich", "enrich", &["rust", "c", "go", "python", "js", "ts"]),
    ("github-events", "github-events", &["rust", "c", "go", "python", "js", "ts"]),
    ("fail", "fail", &["rust", "c", "go", "python", "js", "ts"]),
    ("fail-exception", "fail", &["python", "js", "ts"]),
    ("fail-panic", "fail", &["rust", "c", "go"]),
];

fn cases(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../guests/cases").join(folder)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}

/// `saf-runtime test`, with the compiled guests of all tests shared.
fn test(args: &[&str]) -> Said {
    let mut command = command(&[&["test"], args].concat());
    command.env("XDG_CACHE_HOME", env!("CARGO_TARGET_TMPDIR"));
    Said::of(&command.output().expect("runs"))
}

/// A folder with a router.toml.
struct Project(TempDir);

impl Project {
    fn new(channels: &str) -> Self {
        let folder = TempDir::new().expect("a folder");
        let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("guest-cache");
        fs::write(folder.path().join("router.toml"), format!("[host]\ncache = {cache:?}\n{channels}"))
            .expect("writable");
        Self(folder)
    }

    fn write(&self, file: &str, content: &Value) -> PathBuf {
        let path = self.0.path().join(file);
        fs::create_dir_all(path.parent().expect("in a folder")).expect("writable");
        fs::write(&path, serde_json::to_string_pretty(content).expect("JSON")).expect("writable");
        path
    }

    fn test(&self, args: &[&str]) -> Said {
        let config = self.0.path().join("router.toml");
        test(&[&["--config", text(&config)], args].concat())
    }
}

/// A Channel of a guest whose cases stand in the project's own folder.
fn channel(name: &str, guest: &str, rest: &str) -> String {
    let component = guest_path(guest);
    format!(
        "[channels.{name}]\ncomponent = {component:?}\nsubjects = [\"in.{name}\"]\n{rest}\nbuild = {{ command = \"true\", dir = \"{name}\" }}\n"
    )
}

#[test]
fn every_language_passes_the_same_cases_byte_for_byte() {
    let dist = guest_path("echo");
    let dist = dist.parent().and_then(Path::parent).expect("guests/dist");
    for (folder, guest, languages) in TABLE {
        for language in languages {
            let component = dist.join(language).join(format!("{guest}.wasm"));
            if !component.exists() {
                eprintln!("SKIPPED: {folder} in {language}, which is not built");
                continue;
            }
            let said = test(&[text(&cases(folder)), "--component", text(&component), "--exact"]);
            assert_eq!(said.code, Some(0), "{folder} in {language}:\n{}\n{}", said.out, said.err);
            assert!(said.out.contains(" passed in "), "{said:?}");
        }
    }
}

#[test]
fn a_difference_is_shown_where_it_is_and_ends_with_1() {
    let project = Project::new(&channel("echo", "echo", "emit.subjects = [\">\"]"));
    let event = json!({"subject": "a", "data": {"n": 1, "who": {"name": "x"}}});
    let emission = json!({"subject": "echo.a", "data": {"n": 1, "who": {"name": "y"}}});
    project.write("echo/cases/wrong.json", &json!({"event": event, "expect": {"emissions": [emission]}}));
    let right = json!({"subject": "echo.a", "data": {"who": {"name": "x"}, "n": 1.0}});
    project.write("echo/cases/right.json", &json!({"event": event, "expect": {"emissions": [right]}}));
    let junit = project.0.path().join("results.xml");
    let said = project.test(&["--junit", text(&junit)]).fails(1, &["1 case failed"]);
    for part in
        ["FAIL", "emission 1, data.who.name", "expected  \"y\"", "got       \"x\"", "1 passed, 1 failed in"]
    {
        assert!(said.out.contains(part), "lacks {part:?}: {}", said.out);
    }
    let xml = fs::read_to_string(junit).expect("written");
    assert!(xml.contains("tests=\"2\" failures=\"1\"") && xml.contains("data.who.name"), "{xml}");
}

#[test]
fn an_update_writes_what_came_and_nothing_else() {
    let project = Project::new(&channel("echo", "echo", "emit.subjects = [\">\"]"));
    let file = project.write("echo/cases/a.json", &json!({}));
    let before = "{\n  \"fuel\":   1,\n  \"event\": { \"subject\": \"a\",   \"data\": {\"n\": 1} },\n  \"expect\": { \"trap\": \"\" }\n}\n";
    fs::write(&file, before).expect("writable");
    project.test(&[]).fails(1, &[]);
    assert_eq!(fs::read_to_string(&file).expect("there"), before);
    let said = project.test(&["--update"]).ok();
    assert!(said.out.contains("updated"), "{said:?}");
    let after = fs::read_to_string(&file).expect("there");
    assert!(after.contains("\"event\": { \"subject\": \"a\",   \"data\": {\"n\": 1} },\n"), "{after}");
    project.test(&[]).ok();

    let fuel = serde_json::from_str::<Value>(&after).expect("JSON")["fuel"].as_u64().expect("a number");
    fs::write(&file, after.replace(&fuel.to_string(), &(fuel * 102 / 100).to_string())).expect("writable");
    let said = project.test(&[]).fails(1, &[]);
    assert!(said.out.contains("fuel"), "{said:?}");
    project.test(&["--fuel-tolerance", "5%"]).ok();
}

#[test]
fn a_trap_names_its_message_and_its_place() {
    let project = Project::new(&channel("fail", "fail", ""));
    let expect = json!({"emissions": []});
    project
        .write("fail/cases/a.json", &json!({"event": {"subject": "a", "data": "throw"}, "expect": expect}));
    let said = project.test(&[]).fails(1, &[]);
    for part in ["expected  done, no emission", "got       trap:", "an exception", "src/lib.rs:"] {
        assert!(said.out.contains(part), "lacks {part:?}: {}", said.out);
    }
}

#[test]
fn a_channel_has_its_own_limits_configuration_and_allowance() {
    let channels = [
        channel("tight", "fail", "limits.fuel = 50_000"),
        channel("refused", "fail", "config = { init = \"fail\" }"),
        channel("silent", "echo", "emit.subjects = [\"other.>\"]"),
    ];
    let project = Project::new(&channels.concat());
    let count = json!({"subject": "a", "data": "spin"});
    project.write("tight/cases/a.json", &json!({"event": count, "expect": {"fuel": "limits.fuel is 50000"}}));
    project.write(
        "refused/cases/a.json",
        &json!({"event": count, "expect": {"init": "the configuration says: fail"}}),
    );
    let own =
        json!({"event": {"subject": "a", "data": "reject"}, "config": {}, "expect": {"reject": "never"}});
    project.write("refused/cases/own.json", &own);
    let refused = "add it to emit.subjects of silent";
    project.write("silent/cases/a.json", &json!({"event": {"subject": "a"}, "expect": {"output": refused}}));
    let said = project.test(&[]).ok();
    assert!(said.out.contains("4 passed"), "{said:?}");
    let said = project.test(&["--channel", "silent"]).ok();
    assert!(said.out.contains("1 passed"), "{said:?}");
    let elsewhere =
        project.write("elsewhere/a.json", &json!({"event": {"subject": "a"}, "expect": {"output": refused}}));
    project.test(&[text(&elsewhere)]).fails(2, &["--channel"]);
    project.test(&[text(&elsewhere), "--channel", "silent"]).ok();
}

/// The case that docs/test-a-channel.md shows for requests.
fn documented_case() -> Value {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/test-a-channel.md");
    let page = fs::read_to_string(page).expect("the page");
    let blocks = page.split("```json\n").skip(1).filter_map(|rest| rest.split("```").next());
    let block = blocks.into_iter().find(|block| block.contains("\"http\"")).expect("an example");
    serde_json::from_str(block).expect("JSON")
}

#[test]
fn requests_are_answered_by_the_case_and_must_be_those_that_it_names() {
    let granted = "grants.http = [\"https://api.example.com\"]";
    let project = Project::new(&channel("hook", "webhook-out", granted));
    let right = documented_case();
    project.write("hook/cases/right.json", &right);
    let mut refused = right.clone();
    refused["http"][0] = json!({"error": "refused"});
    refused["expect"] =
        json!({"retry": {"reason": "no answer (ErrorCode::ConnectionRefused", "after_ms": null}});
    project.write("hook/cases/refused.json", &refused);
    let mut elsewhere = right.clone();
    elsewhere["config"]["url"] = json!("https://other.example.com/hooks/rides");
    (elsewhere["http"], elsewhere["expect"]) = (json!([]), json!({"retry": "grants.http"}));
    project.write("hook/cases/not-granted.json", &elsewhere);
    let said = project.test(&[]).ok();
    assert!(said.out.contains("3 passed"), "{said:?}");

    // One that differs, one too few, one too many; `--update` does not make up what a server says.
    let file = project.write("hook/cases/right.json", &right);
    let mut wrong = right.clone();
    wrong["http"][0]["request"]["data"]["driver"] = json!(8);
    let mut missing = right.clone();
    missing["http"].as_array_mut().expect("a list").push(json!({"response": {"status": 200}}));
    let mut extra = right.clone();
    (extra["http"], extra["expect"]) = (json!([]), json!({"retry": ""}));
    for (case, parts) in [
        (&wrong, ["http 1, data.driver", "expected  8"]),
        (&missing, ["http 2", "got       nothing"]),
        (&extra, ["http 1", "got       POST https://api.example.com/hooks/rides"]),
    ] {
        project.write("hook/cases/right.json", case);
        let before = fs::read_to_string(&file).expect("there");
        for arguments in [&[][..], &["--update"]] {
            let said = project.test(arguments).fails(1, &["1 case failed"]);
            assert!(parts.iter().all(|part| said.out.contains(part)), "{parts:?} in {}", said.out);
        }
        assert_eq!(fs::read_to_string(&file).expect("there"), before);
    }
}

#[test]
fn what_cannot_be_tested_is_told_with_what_to_do() {
    let project = Project::new("[channels.a]\ncomponent = \"a.wasm\"\nsubjects = [\"x\"]\n");
    project.test(&[]).fails(2, &["no case files", "cases/"]);
    project.test(&["--channel", "b"]).fails(2, &["no Channel b", "it has a"]);
    project.write("cases/a.json", &json!({"event": {"subject": "a"}, "expect": {"emissions": []}}));
    project.test(&[]).fails(78, &["a.wasm", "saf-runtime build a"]);
    project.write("cases/a.json", &json!({"event": {"subjet": "a"}, "expect": {"emissions": []}}));
    project.test(&[]).fails(78, &["cases/a.json:3", "did you mean `subject`?"]);
    project.test(&["--event", "12"]).fails(2, &["@dead-letter:"]);
    test(&["--config", "/there/is/none.toml"]).fails(78, &["cannot read"]);
    test(&["/there/is/none", "--component", "none.wasm"]).fails(2, &["cannot read"]);
}

#[test]
fn what_a_router_stored_is_run_on_the_local_build_without_a_trace() {
    let stage = hostile(On::Embedded);
    let router = stage.start();
    ask(&router, &["send", "do", "trap", "--wait"]).fails(1, &["a dead letter of hostile"]);
    until("its dead letter", || (router.dead_letters().len() == 1).then_some(()));
    let id = router.dead_letters()[0]["id"].as_str().expect("text").to_owned();
    let stored = router.stored();

    // The local Channel of that name is another component: it does not trap.
    let subjects = "emit.subjects = [\"echo.>\"]";
    let project = Project::new(&(channel("hostile", "echo", subjects) + &channel("b", "fail", "")));
    let run = |args: &[&str]| project.test(&[&["--url", &*router.admin], args].concat());
    let said = run(&["--event", &format!("@dead-letter:{id}")]).ok();
    for part in ["dead letter", "hostile", "done, 1 emission", "echo.do", "trap", "fuel"] {
        assert!(said.out.contains(part), "lacks {part:?}: {}", said.out);
    }
    let said =
        run(&["--event", "@event:1", "--channel", "b"]).fails(1, &["b does not handle the event: trap"]);
    assert!(said.out.contains("asked to trap"), "{said:?}");
    run(&["--event", "@event:1"]).fails(2, &["no Channel subscribes to do"]);
    run(&["--event", "@event:99"]).fails(1, &["was answered 404"]);
    assert_eq!((router.stored(), router.dead_letters().len()), (stored, 1), "nothing was stored");
}
