//! What a component may import, by name. Everything that is linked for everybody is listed here, with whether it does anything;
//! whatever is not listed is refused at load. Versions match by their semver track: a guest built for wasi 0.2.12 runs on 0.2.6.
//!
//! Not `Linker::define_unknown_imports_as_traps`: it matches exact versions and shadows the real interfaces (measured).

use std::fmt;

use wasmtime::Engine;
use wasmtime::component::Component;
use wasmtime::component::types::ComponentItem;

/// An import of a component.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Import {
    /// As the component names it, such as `wasi:io/streams@0.2.6`.
    pub name: String,
    /// What it gets.
    pub access: Access,
}

/// What an import gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// It works.
    Granted,
    /// It is there, because language runtimes import it to start, and is empty or refuses.
    Stubbed,
    /// It holds types only; there is nothing to grant.
    TypeOnly,
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Granted => "granted",
            Self::Stubbed => "stubbed",
            Self::TypeOnly => "types only",
        })
    }
}

/// Package, interface (any when empty), version or the start of one, access.
const OFFERED: [(&str, &str, &str, Access); 14] = [
    ("wasi:io", "", "0.2.", Access::Granted),
    ("wasi:clocks", "", "0.2.", Access::Granted),
    ("wasi:random", "", "0.2.", Access::Granted),
    ("wasi:logging", "logging", "0.1.0-draft", Access::Granted),
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
];

/// The imports of a component, or the names of those that nothing grants.
pub(crate) fn check(component: &Component, engine: &Engine) -> Result<Vec<Import>, Vec<String>> {
    let mut imports = Vec::new();
    let mut refused = Vec::new();
    for (name, import) in component.component_type().imports(engine) {
        match access(name, &import.ty, engine) {
            Some(access) => imports.push(Import { name: name.to_owned(), access }),
            None => refused.push(name.to_owned()),
        }
    }
    if refused.is_empty() { Ok(imports) } else { Err(refused) }
}

fn access(name: &str, item: &ComponentItem, engine: &Engine) -> Option<Access> {
    let offered = offered(name);
    if offered.is_some() {
        return offered;
    }
    let ComponentItem::ComponentInstance(instance) = item else { return None };
    let types_only = instance.exports(engine).all(|(_, export)| matches!(export.ty, ComponentItem::Type(_)));
    types_only.then_some(Access::TypeOnly)
}

fn offered(name: &str) -> Option<Access> {
    let (package, rest) = name.split_once('/')?;
    let (interface, version) = rest.split_once('@')?;
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
            ("wasi:http/incoming-handler@0.2.4", None),
            ("wasi:keyvalue/store@0.2.0-draft2", None),
            ("wasi:config/store@0.2.0-rc.1", None),
            ("acme:wasi/io@0.2.0", None),
            ("streams", None),
        ] {
            assert_eq!(offered(name), access, "{name}");
        }
    }
}
