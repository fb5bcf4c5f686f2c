//! The bill of materials: every crate that is part of the program, with version, licence, checksum, and what needs it, as CycloneDX 1.6. Made
//! from `cargo metadata` and the lock file, which know it all; there is no time and no serial number, so that the same sources make the same file.
//!
//! Crates that only run while building (build scripts' and tests') are left out; procedural macros count as parts.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{Context, ensure};
use serde::Deserialize;
use serde_json::{Value, json};

use super::PROGRAM;
use crate::workspace::Workspace;

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    description: Option<String>,
    /// `None` for the checkout's own.
    source: Option<String>,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<DependencyKind>,
}

#[derive(Deserialize)]
struct DependencyKind {
    /// `None` for an ordinary one, else `build` or `dev`.
    kind: Option<String>,
}

/// Checksums by name and version.
type Checksums = BTreeMap<(String, String), String>;

/// The bill of the program for a target.
pub(super) fn bill(workspace: &Workspace, triple: &str) -> anyhow::Result<String> {
    let mut cargo =
        workspace.cargo(&["metadata", "--format-version=1", "--locked", "--filter-platform", triple]);
    let output = cargo.output().context("cannot start cargo metadata")?;
    ensure!(output.status.success(), "cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Metadata =
        serde_json::from_slice(&output.stdout).context("cargo metadata answers something new")?;
    let lock = workspace.root().join("Cargo.lock");
    let lock = fs::read_to_string(&lock).with_context(|| format!("cannot read {}", lock.display()))?;
    Ok(serde_json::to_string_pretty(&document(&metadata, &checksums(&lock)?)?)? + "\n")
}

fn checksums(lock: &str) -> anyhow::Result<Checksums> {
    #[derive(Deserialize)]
    struct Lock {
        package: Vec<Locked>,
    }
    #[derive(Deserialize)]
    struct Locked {
        name: String,
        version: String,
        checksum: Option<String>,
    }
    let lock: Lock = toml::from_str(lock).context("Cargo.lock is of a new kind")?;
    let packages = lock.package.into_iter();
    Ok(packages.filter_map(|locked| Some(((locked.name, locked.version), locked.checksum?))).collect())
}

fn document(metadata: &Metadata, checksums: &Checksums) -> anyhow::Result<Value> {
    let packages: BTreeMap<_, _> =
        metadata.packages.iter().map(|package| (package.id.as_str(), package)).collect();
    let needs: BTreeMap<_, _> =
        metadata.resolve.nodes.iter().map(|node| (node.id.as_str(), parts(node))).collect();
    let program = metadata.packages.iter().find(|package| package.name == PROGRAM);
    let program = program.with_context(|| format!("there is no package {PROGRAM}"))?;
    let mut inside = BTreeSet::new();
    let mut open = vec![program.id.as_str()];
    while let Some(id) = open.pop() {
        if inside.insert(id) {
            open.extend(needs.get(id).into_iter().flatten());
        }
    }
    let mut inside: Vec<_> = inside.into_iter().filter_map(|id| packages.get(id).copied()).collect();
    inside.sort_by_key(|package| (&package.name, &package.version));
    let depends = inside.iter().map(|package| {
        let on = needs.get(package.id.as_str()).into_iter().flatten();
        let mut on: Vec<_> = on.filter_map(|id| packages.get(id)).map(|package| reference(package)).collect();
        on.sort();
        on.dedup();
        json!({ "ref": reference(package), "dependsOn": on })
    });
    Ok(json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": { "component": component(program, "application", checksums) },
        "components": inside.iter().filter(|package| package.id != program.id)
            .map(|package| component(package, "library", checksums)).collect::<Vec<_>>(),
        "dependencies": depends.collect::<Vec<_>>()
    }))
}

/// What ends up in the program.
fn parts(node: &Node) -> Vec<&str> {
    let part = |dependency: &&Dependency| dependency.dep_kinds.iter().any(|kind| kind.kind.is_none());
    node.deps.iter().filter(part).map(|dependency| dependency.pkg.as_str()).collect()
}

fn reference(package: &Package) -> String {
    format!("pkg:cargo/{}@{}", package.name, package.version)
}

fn component(package: &Package, kind: &str, checksums: &Checksums) -> Value {
    let mut component = json!({
        "type": kind,
        "bom-ref": reference(package),
        "name": package.name,
        "version": package.version,
        "purl": reference(package),
        "scope": "required"
    });
    if let Some(license) = &package.license {
        // The old way of writing a choice.
        component["licenses"] = json!([{ "expression": license.replace('/', " OR ") }]);
    }
    if let Some(description) = &package.description {
        component["description"] = json!(description.split_whitespace().collect::<Vec<_>>().join(" "));
    }
    let checksum = checksums.get(&(package.name.clone(), package.version.clone()));
    if let (Some(_), Some(checksum)) = (&package.source, checksum) {
        component["hashes"] = json!([{ "alg": "SHA-256", "content": checksum }]);
    }
    component
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_the_program_is_listed_and_nothing_else() {
        let metadata = r#"{
            "packages": [
                {"id": "p", "name": "saf-runtime", "version": "0.1.0", "license": "Apache-2.0", "description": null, "source": null},
                {"id": "a", "name": "a", "version": "1.0.0", "license": "MIT/Apache-2.0", "description": "An\n  a.", "source": "registry"},
                {"id": "b", "name": "b", "version": "2.0.0", "license": null, "description": null, "source": "registry"},
                {"id": "t", "name": "t", "version": "3.0.0", "license": null, "description": null, "source": "registry"}
            ],
            "resolve": {"nodes": [
                {"id": "p", "deps": [{"pkg": "a", "dep_kinds": [{"kind": null}]}, {"pkg": "t", "dep_kinds": [{"kind": "dev"}, {"kind": "build"}]}]},
                {"id": "a", "deps": [{"pkg": "b", "dep_kinds": [{"kind": "dev"}, {"kind": null}]}]},
                {"id": "b", "deps": []},
                {"id": "t", "deps": []}
            ]}
        }"#;
        let lock = "version = 4\n[[package]]\nname = \"a\"\nversion = \"1.0.0\"\nchecksum = \"77\"\n[[package]]\nname = \"saf-runtime\"\nversion = \"0.1.0\"\n";
        let metadata: Metadata = serde_json::from_str(metadata).expect("metadata");
        let bill = document(&metadata, &checksums(lock).expect("a lock file")).expect("a bill");
        assert_eq!(bill["metadata"]["component"]["name"], "saf-runtime");
        let names: Vec<_> = bill["components"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|component| &component["name"])
            .collect();
        assert_eq!(names, ["a", "b"]);
        let a = &bill["components"][0];
        assert_eq!(a["licenses"][0]["expression"], "MIT OR Apache-2.0");
        assert_eq!((&a["hashes"][0]["content"], &a["description"]), (&json!("77"), &json!("An a.")));
        assert_eq!(
            bill["dependencies"][0],
            json!({ "ref": "pkg:cargo/a@1.0.0", "dependsOn": ["pkg:cargo/b@2.0.0"] })
        );
    }
}
