//! Gives each event back: the same data and content type, on `echo.<subject>`.

use saf_channel::{Emission, Event};

saf_channel::handler!(echo);

fn echo(event: Event) -> Emission {
    let Event { subject, data, content_type, .. } = event;
    Emission { content_type, ..Emission::new(format!("echo.{subject}"), data) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_comes_back() {
        let event = Event { content_type: Some("text/plain".into()), ..Event::new("a.b", "x") };
        assert_eq!(echo(event), Emission::new("echo.a.b", "x").with_content_type("text/plain"));
    }
}
