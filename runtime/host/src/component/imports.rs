//! What a component may import, by name. Everything that is linked for everybody is listed here, with whether it does anything;
//! whatever is not listed is refused at load. Versions match by their semver track: a guest built for wasi 0.2.12 runs on 0.2.6.
//!
//! Not `Linker::define_unknown_imports_as_traps`: it matches exact versions and shadows the real interfaces (measured).

use std::fmt;

use wasmtime::Engine;
use wasmtime::component::Component;
use wasmtime::component::types::ComponentItem;

use crate::adapter::{self, Contract};
use crate::component::LoadError;
use crate::config::Grants;

/// An import of a component.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Import {
    /// As the component names it, such as `wasi:io/streams@0.2.6`.
    pub name: String,
    /// What it gets.
    pub access: Access,
}

impl Import {
    /// The same under a Channel's grants.
    fn under(&self, grants: &Grants) -> Self {
        let access = match self.key() {
            Some(Key::Http) if !grants.http.is_empty() => Access::Granted,
            Some(Key::Tcp) if !grants.tcp.is_empty() => Access::Granted,
            Some(Key::State) if grants.keyvalue => Access::Granted,
            Some(Key::Http | Key::Tcp | Key::State) | None => self.access,
        };
        Self { name: self.name.clone(), access }
    }

    /// The line of configuration that would make an import work; `None` when it works, or nothing would.
    pub fn would_grant(&self) -> Option<&'static str> {
        match (self.access, self.key()) {
            (Access::Stubbed, Some(Key::Http)) => Some("grants.http = [\"https://api.example.com\"]"),
            (Access::Stubbed, Some(Key::Tcp)) => Some("grants.tcp = [\"mqtt.example.com:1883\"]"),
            (Access::Refused, _) | (Access::Stubbed, Some(Key::State)) => Some("grants.keyvalue = true"),
            (Access::Stubbed, None) | (Access::Granted | Access::TypeOnly, _) => None,
        }
    }

    fn key(&self) -> Option<Key> {
        let (interface, _version) = self.name.split_once('@')?;
        match interface {
            "wasi:http/types" | "wasi:http/outgoing-handler" => Some(Key::Http),
            "wasi:sockets/network"
            | "wasi:sockets/instance-network"
            | "wasi:sockets/ip-name-lookup"
            | "wasi:sockets/tcp"
            | "wasi:sockets/tcp-create-socket" => Some(Key::Tcp),
            "wasi:keyvalue/store" | "wasi:keyvalue/atomics" | "wasi:keyvalue/batch" => Some(Key::State),
            _ => None,
        }
    }
}

/// The key of `[channels.<name>.grants]` that an import hangs on.
#[derive(Clone, Copy)]
enum Key {
    Http,
    Tcp,
    State,
}

/// The imports of a component as a Channel with these grants has them.
pub(crate) fn under(imports: &[Import], grants: &Grants) -> Vec<Import> {
    imports.iter().map(|import| import.under(grants)).collect()
}

/// What an import gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// It works.
    Granted,
    /// It is there, because language runtimes import it to start, and is empty or refuses.
    Stubbed,
    /// It is there for Channels with a grant, and no other may run with it.
    Refused,
    /// It holds types only; there is nothing to grant.
    TypeOnly,
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Granted => "granted",
            Self::Stubbed => "stubbed",
            Self::Refused => "refused",
            Self::TypeOnly => "types only",
        })
    }
}

/// Package, interface (any when empty), version or the start of one, access.
const OFFERED: [(&str, &str, &str, Access); 20] = [
    ("wasi:io", "", "0.2.", Access::Granted),
    ("wasi:clocks", "", "0.2.", Access::Granted),
    ("wasi:random", "", "0.2.", Access::Granted),
    ("wasi:logging", "logging", "0.1.0-draft", Access::Granted),
    ("wasi:logging", "logging", "", Access::Granted),
    ("wasi:config", "store", "0.2.0-rc.1", Access::Granted),
    ("wasi:config", "runtime", "0.2.0-draft", Access::Granted),
    ("wasi:cli", "stdout", "0.2.", Access::Granted),
    ("wasi:cli", "stderr", "0.2.", Access::Granted),
    ("wasi:cli", "exit", "0.2.", Access::Granted),
    ("wasi:cli", "stdin", "0.2.", Access::Stubbed),
    ("wasi:cli", "environment", "0.2.", Access::Stubbed),
    ("wasi:cli", "", "0.2.", Access::Stubbed), // the terminals
    ("wasi:filesystem", "", "0.2.", Access::Stubbed),
    ("wasi:sockets", "", "0.2.", Access::Stubbed),
    ("wasi:http", "types", "0.2.", Access::Stubbed),
    ("wasi:http", "outgoing-handler", "0.2.", Access::Stubbed),
    ("wasi:keyvalue", "store", "0.2.0-draft2", Access::Refused),
    ("wasi:keyvalue", "atomics", "0.2.0-draft2", Access::Refused),
    ("wasi:keyvalue", "batch", "0.2.0-draft2", Access::Refused),
];

/// Package, interface and version of what only one contract's components may import, beside the above.
const OFFERED_TO: [(Contract, &str, &str, &str); 2] = [
    (Contract::Messaging, "wasmcloud:messaging", "consumer", "0.2."),
    (Contract::Http, "wasi:http", "types", "0.2."),
];

/// The imports of a component, or why it cannot have them.
pub(crate) fn check(
    component: &Component,
    engine: &Engine,
    contract: Contract,
) -> Result<Vec<Import>, LoadError> {
    let mut imports = Vec::new();
    let mut refused = Vec::new();
    for (name, import) in component.component_type().imports(engine) {
        match access(name, &import.ty, engine, contract) {
            Some(access) => imports.push(Import { name: name.to_owned(), access }),
            None => refused.push(name.to_owned()),
        }
    }
    if refused.is_empty() {
        return Ok(imports);
    }
    let newer: Vec<String> = refused.iter().filter(|name| adapter::is_newer(name)).cloned().collect();
    if newer.is_empty() { Err(LoadError::Imports(refused)) } else { Err(LoadError::Newer(newer)) }
}

fn access(name: &str, item: &ComponentItem, engine: &Engine, contract: Contract) -> Option<Access> {
    let offered = offered(name, contract);
    if offered.is_some() {
        return offered;
    }
    let ComponentItem::ComponentInstance(instance) = item else { return None };
    let types_only = instance.exports(engine).all(|(_, export)| matches!(export.ty, ComponentItem::Type(_)));
    types_only.then_some(Access::TypeOnly)
}

fn offered(name: &str, contract: Contract) -> Option<Access> {
    let (package, rest) = name.split_once('/')?;
    let (interface, version) = rest.split_once('@').unwrap_or((rest, ""));
    let own = OFFERED_TO
        .iter()
        .any(|(to, p, i, v)| *to == contract && *p == package && *i == interface && is_of(version, v));
    if own {
        return Some(Access::Granted);
    }
    OFFERED
        .iter()
        .find(|(p, i, v, _)| *p == package && (i.is_empty() || *i == interface) && is_of(version, v))
        .map(|(.., access)| *access)
}

/// `0.2.` means every 0.2 release, pre-releases not: `0.2.0-rc-2023-12-05` was another interface.
fn is_of(version: &str, wanted: &str) -> bool {
    match version.strip_prefix(wanted) {
        Some(patch) if wanted.ends_with('.') => patch.bytes().all(|b| b.is_ascii_digit()),
        Some(rest) => rest.is_empty(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_offered_goes_by_package_interface_and_track() {
        for (name, access) in [
            ("wasi:io/streams@0.2.0", Some(Access::Granted)),
            ("wasi:io/streams@0.2.12", Some(Access::Granted)),
            ("wasi:cli/stdout@0.2.6", Some(Access::Granted)),
            ("wasi:cli/environment@0.2.6", Some(Access::Stubbed)),
            ("wasi:cli/terminal-output@0.2.6", Some(Access::Stubbed)),
            ("wasi:sockets/tcp@0.2.9", Some(Access::Stubbed)),
            ("wasi:http/outgoing-handler@0.2.4", Some(Access::Stubbed)),
            ("wasi:logging/logging@0.1.0-draft", Some(Access::Granted)),
            ("wasi:io/streams@0.3.0", None),
            ("wasi:io/streams@0.2.0-rc-2023-12-05", None),
            ("wasi:io/streams", None),
            ("wasi:logging/logging", Some(Access::Granted)),
            ("wasi:http/types@0.2.4", Some(Access::Stubbed)),
            ("wasmcloud:messaging/consumer@0.2.0", None),
            ("wasi:http/incoming-handler@0.2.4", None),
            ("wasi:keyvalue/store@0.2.0-draft2", Some(Access::Refused)),
            ("wasi:keyvalue/watcher@0.2.0-draft2", None),
            ("wasi:keyvalue/store@0.2.0-draft", None),
            ("wasi:config/store@0.2.0-rc.1", Some(Access::Granted)),
            ("wasi:config/runtime@0.2.0-draft", Some(Access::Granted)),
            ("wasi:config/store@0.2.0-draft", None),
            ("acme:wasi/io@0.2.0", None),
            ("streams", None),
        ] {
            assert_eq!(offered(name, Contract::Channel), access, "{name}");
        }
    }

    #[test]
    fn a_contract_brings_its_own_imports() {
        for (name, contract, access) in [
            ("wasmcloud:messaging/consumer@0.2.0", Contract::Messaging, Some(Access::Granted)),
            ("wasmcloud:messaging/consumer@0.3.0", Contract::Messaging, None),
            ("wasmcloud:messaging/consumer@0.2.0", Contract::Http, None),
            ("wasi:http/types@0.2.8", Contract::Http, Some(Access::Granted)),
            ("wasi:http/outgoing-handler@0.2.8", Contract::Http, Some(Access::Stubbed)),
        ] {
            assert_eq!(offered(name, contract), access, "{name}");
        }
    }

    #[test]
    fn a_grant_turns_a_stub_into_what_works_and_a_stub_says_which() {
        let import =
            |name: &str| Import { name: name.into(), access: offered(name, Contract::Channel).expect(name) };
        let imports =
            ["wasi:http/outgoing-handler@0.2.4", "wasi:sockets/tcp@0.2.4", "wasi:sockets/udp@0.2.4"];
        let imports = imports.map(import);
        let access = |grants: &Grants| under(&imports, grants).iter().map(|i| i.access).collect::<Vec<_>>();
        assert_eq!(access(&Grants::default()), [Access::Stubbed; 3]);
        let http = vec!["https://example.com".parse().expect("an origin")];
        let http = Grants { http, ..Grants::default() };
        assert_eq!(access(&http), [Access::Granted, Access::Stubbed, Access::Stubbed]);
        let tcp = vec!["example.com:1883".parse().expect("an endpoint")];
        let tcp = Grants { tcp, ..Grants::default() };
        assert_eq!(access(&tcp), [Access::Stubbed, Access::Granted, Access::Stubbed]);
        assert!(imports[0].would_grant().is_some_and(|line| line.starts_with("grants.http = ")));
        assert!(imports[1].would_grant().is_some_and(|line| line.starts_with("grants.tcp = ")));
        assert_eq!(imports[2].would_grant(), None);
        assert_eq!(under(&imports, &http)[0].would_grant(), None);
    }
}
