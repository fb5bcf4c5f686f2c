//! What is no Channel is refused when it is loaded, by name and with what to do; what is one is compiled once.

mod support;

use std::fs;

use saf_host::{Access, Grants, LoadError, Origin};

use support::{channel, component, guest_path, sandbox, sandbox_with, stateful};

const CHANNEL: &str = "include saf:channel/channel@0.1.0;";

#[tokio::test]
async fn what_is_no_channel_is_refused_with_what_to_do() {
    let sandbox = sandbox();
    let echo = fs::read(guest_path("echo")).expect("read");
    let module = wat::parse_str("(module)").expect("text");
    let empty = wat::parse_str("(component)").expect("text");
    let foreign = "package test:made; world made { export run: func(); }";
    let foreign = component(r#"(module (func (export "run")))"#, foreign);
    let future =
        "package saf:channel@0.2.0; interface handler { init: func(); } world made { export handler; }";
    let future = component(r#"(module (func (export "saf:channel/handler@0.2.0#init")))"#, future);
    let similar =
        "package saf:channel@0.1.9; interface handler { init: func(); } world made { export handler; }";
    let similar = component(r#"(module (func (export "saf:channel/handler@0.1.9#init")))"#, similar);
    let cases: [(&str, Vec<u8>, &[&str]); 10] = [
        ("nothing", vec![], &["no WebAssembly component", "wasm32-wasip2"]),
        ("garbage", b"#!/bin/sh\n".to_vec(), &["no WebAssembly component"]),
        ("a core module", module, &["core WebAssembly module", "wasm-tools component new"]),
        ("an ELF file", b"\x7fELF rest".to_vec(), &["machine code"]),
        ("only the header", echo[..8].to_vec(), &["no Channel", "it exports nothing"]),
        ("half of a component", echo[..echo.len() / 2].to_vec(), &["invalid"]),
        ("an empty component", empty, &["no Channel", "it exports nothing"]),
        ("a foreign world", foreign, &["no Channel", "saf:channel/handler@0.1.0", "it exports run"]),
        (
            "another version",
            future,
            &["exports saf:channel/handler@0.2.0", "speaks saf:channel/handler@0.1.0"],
        ),
        ("the same name with other functions", similar, &["no Channel"]),
    ];
    for (what, bytes, words) in cases {
        let error = sandbox.host.load_bytes(bytes.into()).await.expect_err(what).to_string();
        for word in words {
            assert!(error.contains(word), "{what}: {error}");
        }
    }
}

#[tokio::test]
async fn imports_that_nothing_grants_are_refused_by_name() {
    let sandbox = sandbox();
    let imports = r#"
        (import "wasi:keyvalue/store@0.2.0-draft" "open" (func (param i32 i32) (result i32)))
        (import "acme:things/thing@1.0.0" "do-it" (func))"#;
    let module = support::counting(imports, "", "");
    let world = format!(
        "package test:made; world made {{ {CHANNEL}
            import wasi:keyvalue/store@0.2.0-draft; import acme:things/thing@1.0.0; }}"
    );
    let error = sandbox.host.load_bytes(component(&module, &world).into()).await.expect_err("refused");
    let LoadError::Imports(names) = &error else { panic!("{error}") };
    let mut names = names.clone();
    names.sort();
    assert_eq!(names, ["acme:things/thing@1.0.0", "wasi:keyvalue/store@0.2.0-draft"]);
    assert!(error.to_string().contains("which nothing grants"), "{error}");
}

#[tokio::test]
async fn a_component_that_needs_state_is_refused_without_the_grant_and_told_which_line_is_missing() {
    let sandbox = sandbox();
    let counter = sandbox.guest("counter").await;
    let granted = Grants { keyvalue: true, ..Grants::default() };
    counter.check_grants(&granted).expect("granted");
    let refused = counter.check_grants(&Grants::default()).expect_err("refused");
    let text = refused.to_string();
    assert!(
        text.contains("wasi:keyvalue/store@0.2.0-draft2") && text.contains("grants.keyvalue = true"),
        "{text}"
    );
    let access = |grants: &Grants| {
        let imports = counter.imports_under(grants);
        imports
            .iter()
            .find(|import| import.name.starts_with("wasi:keyvalue/store@"))
            .map(|import| import.access)
    };
    assert_eq!(
        (access(&granted), access(&Grants::default())),
        (Some(Access::Granted), Some(Access::Refused))
    );
    sandbox.guest("echo").await.check_grants(&Grants::default()).expect("it needs nothing");
}

#[tokio::test]
async fn imports_say_what_works_and_what_is_stubbed() {
    let sandbox = sandbox();
    let hostile = sandbox.guest("hostile").await;
    let access = |name: &str| {
        let import = hostile.imports().iter().find(|import| import.name.starts_with(name));
        import.unwrap_or_else(|| panic!("{name} among {:?}", hostile.imports())).access
    };
    assert_eq!(access("saf:channel/types@"), Access::TypeOnly);
    assert_eq!(access("wasi:cli/stderr@0.2."), Access::Granted);
    assert_eq!(access("wasi:cli/environment@0.2."), Access::Stubbed);
}

#[tokio::test]
async fn a_component_is_compiled_once_and_known_by_its_digest() {
    let sandbox = sandbox();
    let bytes = channel(&stateful());
    let compiled = sandbox.host.load_bytes(bytes.clone().into()).await.expect("loads");
    assert_eq!((compiled.origin(), compiled.size()), (Origin::Compiled, bytes.len()));
    assert_eq!(compiled.digest().len(), 64);

    let again = sandbox_with(|config| config.cache = sandbox.folder.path().join("cache"));
    let cached = again.host.load_bytes(bytes.into()).await.expect("loads");
    assert_eq!((cached.origin(), cached.digest()), (Origin::Cached, compiled.digest()));
    let pool = again.pool(&cached, |_| {});
    assert_eq!(support::count(&support::call(&pool, "").await), 1);
}

#[tokio::test]
async fn a_damaged_artefact_is_compiled_again() {
    let sandbox = sandbox();
    let bytes = channel(&stateful());
    sandbox.host.load_bytes(bytes.clone().into()).await.expect("loads");
    let cache = sandbox.folder.path().join("cache");
    let artefact = fs::read_dir(&cache).expect("a folder").next().expect("a file").expect("readable").path();
    let whole = fs::read(&artefact).expect("read");
    for damage in ["flipped", "cut", "emptied", "foreign"] {
        let mut damaged = whole.clone();
        match damage {
            "flipped" => damaged[whole.len() / 2] ^= 1,
            "cut" => damaged.truncate(whole.len() - 1),
            "emptied" => damaged.clear(),
            _ => damaged = b"saf compiled component 1\nsomething else altogether".repeat(10),
        }
        fs::write(&artefact, damaged).expect("written");
        let component = sandbox.host.load_bytes(bytes.clone().into()).await.expect("loads");
        assert_eq!(component.origin(), Origin::Compiled, "{damage}");
        assert_eq!(fs::read(&artefact).expect("read").len(), whole.len(), "{damage}: written again");
        let component = sandbox.host.load_bytes(bytes.clone().into()).await.expect("loads");
        assert_eq!(component.origin(), Origin::Cached, "{damage}");
    }
}

#[tokio::test]
async fn files_are_bounded_and_named_when_missing() {
    let sandbox = sandbox_with(|config| config.max_component = saf_event::Size(1000));
    let error = sandbox.host.load(&guest_path("echo")).await.expect_err("refused").to_string();
    assert!(error.contains("host.max_component") && error.contains("1000 B"), "{error}");
    let missing = sandbox.folder.path().join("missing.wasm");
    let error = sandbox.host.load(&missing).await.expect_err("refused").to_string();
    assert!(error.contains("missing.wasm cannot be read"), "{error}");
}
