//! An instance that does not start says why, and blames no event.

mod support;

use std::time::Duration;

use saf_event::{Size, Span};
use saf_host::{Cause, Limits, Stage, StartError};

use support::{call, counting, sandbox, start_error};

#[tokio::test]
async fn init_may_refuse_its_configuration() {
    let sandbox = sandbox();
    let hostile = sandbox.guest("hostile").await;
    for (config, words) in
        [(r#"{"init":"fail"}"#, "the configuration says: fail"), (r#"{"nonsense":1}"#, "nonsense")]
    {
        let pool = sandbox.pool(&hostile, |setup| setup.config_json = config.into());
        let error = start_error(&pool).await;
        let StartError::Refused { reason, .. } = &error else { panic!("{error}") };
        assert!(reason.contains(words), "{reason}");
        assert!(error.to_string().contains("init refused the configuration"), "{error}");
        assert_eq!((pool.live(), pool.idle()), (0, 0));
    }
}

#[tokio::test]
async fn init_has_the_limits_of_an_event() {
    let sandbox = sandbox();
    let hostile = sandbox.guest("hostile").await;
    let brief = Limits { timeout: Span(Duration::from_millis(100)), fuel: u64::MAX / 2, ..Limits::default() };
    let poor = Limits { timeout: Span(Duration::from_secs(50)), ..Limits::default() };
    for (limits, expected) in [(brief, Cause::Timeout), (poor, Cause::Fuel)] {
        let pool = sandbox.pool(&hostile, |setup| {
            setup.limits = limits;
            setup.config_json = r#"{"init":"spin"}"#.into();
        });
        let error = start_error(&pool).await;
        assert!(
            matches!(&error, StartError::Stopped { stage: Stage::Init, cause, .. } if *cause == expected),
            "{error}"
        );
    }
}

#[tokio::test]
async fn instantiation_has_the_limits_of_an_event() {
    let sandbox = sandbox();
    let start = |body: &str| {
        let module = counting("", "", "");
        let module = module.strip_suffix(')').unwrap_or(&module);
        format!("{module} (func $start {body}) (start $start))")
    };
    let cases = [
        (start("unreachable"), Cause::Trap),
        (start("(loop $again (br $again))"), Cause::Fuel),
        (counting("", "", "").replace(r#"(export "memory") 2"#, r#"(export "memory") 1025"#), Cause::Memory),
        (counting("", "(table 100001 funcref)", ""), Cause::Memory),
    ];
    for (module, expected) in cases {
        let component = match sandbox.host.load_bytes(support::channel(&module).into()).await {
            Ok(component) => component,
            Err(error) => {
                assert!(error.to_string().contains("table"), "refused sooner: {error}");
                continue;
            }
        };
        let pool = sandbox.pool(&component, |setup| setup.limits = Limits::default());
        let error = start_error(&pool).await;
        assert!(
            matches!(&error, StartError::Stopped { stage: Stage::Instantiate, cause, .. } if *cause == expected),
            "{expected}: {error}"
        );
    }
}

#[tokio::test]
async fn a_component_that_outgrows_the_machine_is_no_trap() {
    let sandbox = sandbox();
    let component = sandbox.component(&counting("", "", "")).await;
    let pool = sandbox.pool(&component, |setup| setup.limits.memory = Size(1 << 16));
    let error = start_error(&pool).await;
    assert!(error.to_string().contains("limits.memory is 64.0 KiB"), "{error}");
    let pool = sandbox.pool(&component, |setup| setup.limits.memory = Size(2 << 16));
    call(&pool, "").await;
}
