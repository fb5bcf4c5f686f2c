//! wasi:config 0.2: the Channel's own `config` table, always granted, because the same table goes to `init` as JSON anyway. For
//! components that were written for other hosts, and for languages where a key at a time is handier than JSON.
//!
//! A text is handed out as it is, any other value as JSON: the interface knows only flat texts. Deliberately absent: dotted names
//! for what lies inside of a table, other sources (environment, files), and change: an instance keeps the table it began with.

use std::collections::BTreeMap;
use std::sync::Arc;

use wasmtime::component::{HasData, Linker};

mod bindings {
    #![allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
    wasmtime::component::bindgen!({
        inline: "
            package wasi:config@0.2.0-rc.1;
            interface store {
                variant error { upstream(string), io(string) }
                get: func(key: string) -> result<option<string>, error>;
                get-all: func() -> result<list<tuple<string, string>>, error>;
            }
            world imports { import store; }
        ",
        world: "imports",
    });
}

/// What wasmCloud's components import; the same functions under an older name.
mod draft {
    #![allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
    wasmtime::component::bindgen!({
        inline: "
            package wasi:config@0.2.0-draft;
            interface runtime {
                variant config-error { upstream(string), io(string) }
                get: func(key: string) -> result<option<string>, config-error>;
                get-all: func() -> result<list<tuple<string, string>>, config-error>;
            }
            world imports { import runtime; }
        ",
        world: "imports",
    });
}

use bindings::wasi::config::store as wit;
use draft::wasi::config::runtime as wit_draft;

/// A Channel's `config` table, flat. Clones share it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Table(Arc<BTreeMap<String, String>>);

impl Table {
    /// Reads the JSON that `init` gets too; what is no object has no keys.
    pub(crate) fn of(config_json: &str) -> Self {
        let Ok(serde_json::Value::Object(object)) = serde_json::from_str(config_json) else {
            return Self::default();
        };
        let flat = object.into_iter().map(|(key, value)| match value {
            serde_json::Value::String(text) => (key, text),
            other => (key, other.to_string()),
        });
        Self(Arc::new(flat.collect()))
    }

    pub(crate) fn get(&self, key: &str) -> Option<String> {
        self.0.get(key).cloned()
    }

    fn all(&self) -> Vec<(String, String)> {
        self.0.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
    }
}

struct Config;

impl HasData for Config {
    type Data<'a> = &'a mut Table;
}

impl wit::Host for &mut Table {
    fn get(&mut self, key: String) -> Result<Option<String>, wit::Error> {
        Ok(Table::get(self, &key))
    }

    fn get_all(&mut self) -> Result<Vec<(String, String)>, wit::Error> {
        Ok(self.all())
    }
}

impl wit_draft::Host for &mut Table {
    fn get(&mut self, key: String) -> Result<Option<String>, wit_draft::ConfigError> {
        Ok(Table::get(self, &key))
    }

    fn get_all(&mut self) -> Result<Vec<(String, String)>, wit_draft::ConfigError> {
        Ok(self.all())
    }
}

/// Adds `wasi:config/store` 0.2.0-rc.1 and `wasi:config/runtime` 0.2.0-draft.
pub(crate) fn add_to_linker<T: 'static>(
    linker: &mut Linker<T>,
    table: fn(&mut T) -> &mut Table,
) -> wasmtime::Result<()> {
    wit::add_to_linker::<T, Config>(linker, table)?;
    wit_draft::add_to_linker::<T, Config>(linker, table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_handed_out_as_they_are_and_all_else_as_json() {
        let table =
            Table::of(r#"{"url": "http://x", "n": 3, "on": true, "list": [1, "a"], "deep": {"a": null}}"#);
        let pairs = table.all();
        let pairs: Vec<_> = pairs.iter().map(|(key, value)| (&**key, &**value)).collect();
        assert_eq!(
            pairs,
            [
                ("deep", r#"{"a":null}"#),
                ("list", r#"[1,"a"]"#),
                ("n", "3"),
                ("on", "true"),
                ("url", "http://x")
            ]
        );
        assert_eq!(table.get("url").as_deref(), Some("http://x"));
        assert_eq!(table.get("deep.a"), None);
    }

    #[test]
    fn what_is_no_object_has_no_keys() {
        for text in ["", "null", "[1]", "{", "\"text\""] {
            assert_eq!(Table::of(text), Table::default(), "{text}");
        }
    }
}
