//! Merging: what Channels inherit, and what the environment overrides (`SAF__HTTP__LISTEN`; `_` stands for `-` in names).

use toml::{Table, Value};

const PREFIX: &str = "SAF__";

/// The file's table with the environment's overrides, and with `[defaults.channel]` in every Channel.
pub(super) fn merge(mut table: Table, vars: impl IntoIterator<Item = (String, String)>) -> Table {
    let mut vars: Vec<_> = vars.into_iter().filter(|(name, _)| name.starts_with(PREFIX)).collect();
    vars.sort();
    for (name, value) in vars {
        let path: Vec<_> = name[PREFIX.len()..].split("__").map(str::to_lowercase).collect();
        set(&mut table, &path, value_of(&value));
    }
    let defaults = table.get("defaults").and_then(|defaults| defaults.get("channel")).cloned();
    if let (Some(Value::Table(defaults)), Some(Value::Table(channels))) =
        (defaults, table.get_mut("channels"))
    {
        for (_, channel) in channels.iter_mut() {
            if let Value::Table(channel) = channel {
                inherit(channel, &defaults);
            }
        }
    }
    table
}

fn inherit(channel: &mut Table, defaults: &Table) {
    for (key, default) in defaults {
        match (channel.get_mut(key), default) {
            (Some(Value::Table(own)), Value::Table(default)) => inherit(own, default),
            (Some(_), _) => {}
            (None, default) => {
                channel.insert(key.clone(), default.clone());
            }
        }
    }
}

fn set(table: &mut Table, path: &[String], value: Value) {
    let Some((first, rest)) = path.split_first() else { return };
    // A name in the file may hold a dash where the variable has an underscore.
    let key = table.keys().find(|key| key.replace('-', "_") == *first).unwrap_or(first).clone();
    if rest.is_empty() {
        table.insert(key, value);
        return;
    }
    let entry = table.entry(key).or_insert_with(|| Value::Table(Table::new()));
    if !entry.is_table() {
        *entry = Value::Table(Table::new());
    }
    if let Value::Table(inner) = entry {
        set(inner, rest, value);
    }
}

/// A TOML value where it is one (`8`, `true`, `["a"]`), else a string (`5s`, `127.0.0.1:0`).
fn value_of(text: &str) -> Value {
    let parsed = toml::from_str::<Table>(&format!("value = {text}")).ok();
    parsed.and_then(|mut table| table.remove("value")).unwrap_or_else(|| Value::String(text.to_owned()))
}
