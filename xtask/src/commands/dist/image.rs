//! An image as an OCI layout: a folder with a layer, a configuration, a manifest and an index, each named by its SHA-256. What the
//! Dockerfile says of user, port and volume stands here too; a test holds one against the other.

use std::env;
use std::fs;
use std::path::Path;

use anyhow::{Context, bail};
use flate2::{Compression, GzBuilder};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::archive::{Tree, hex};
use super::{PROGRAM, USER};

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Writes the layout into a new folder.
pub(super) fn write(root: &Tree, folder: &Path, version: &str) -> anyhow::Result<()> {
    let blobs = folder.join("blobs/sha256");
    fs::create_dir_all(&blobs).with_context(|| format!("cannot make {}", blobs.display()))?;
    let blob = |media: &str, data: &[u8]| -> anyhow::Result<Value> {
        let digest = hex(&Sha256::digest(data));
        fs::write(blobs.join(&digest), data)?;
        Ok(json!({ "mediaType": media, "digest": format!("sha256:{digest}"), "size": data.len() }))
    };
    let mut layer = Vec::new();
    root.write(&mut layer, "")?;
    let unpacked = hex(&Sha256::digest(&layer));
    let mut gz = GzBuilder::new().write(Vec::new(), Compression::default());
    std::io::Write::write_all(&mut gz, &layer)?;
    let layer = blob(LAYER, &gz.finish()?)?;
    let config = blob(CONFIG, config(&unpacked, architecture()?).to_string().as_bytes())?;
    let manifest = json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer] });
    let mut manifest = blob(MANIFEST, manifest.to_string().as_bytes())?;
    manifest["annotations"] = json!({ "org.opencontainers.image.ref.name": version });
    manifest["platform"] = json!({ "os": "linux", "architecture": architecture()? });
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [manifest] });
    fs::write(folder.join("index.json"), index.to_string())?;
    fs::write(folder.join("oci-layout"), json!({ "imageLayoutVersion": "1.0.0" }).to_string())?;
    Ok(())
}

/// As Go names it.
fn architecture() -> anyhow::Result<&'static str> {
    Ok(match env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => bail!("no image for {other}: Wasmtime compiles for x86_64 and aarch64"),
    })
}

fn config(layer: &str, architecture: &str) -> Value {
    json!({
        "architecture": architecture,
        "os": "linux",
        "config": {
            "User": format!("{USER}:{USER}"),
            "Env": ["SAF_CONFIG=/etc/saf/router.toml"],
            "Entrypoint": [format!("/{PROGRAM}")],
            "ExposedPorts": { "1378/tcp": {}, "1379/tcp": {} },
            "Volumes": { "/var/lib/saf": {} },
            "Labels": {
                "org.opencontainers.image.title": PROGRAM,
                "org.opencontainers.image.description": "A WebAssembly-extensible event router",
                "org.opencontainers.image.version": super::VERSION,
                "org.opencontainers.image.licenses": "Apache-2.0"
            }
        },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{layer}")] },
        "history": [{ "created_by": "cargo xtask dist" }]
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Workspace;

    #[test]
    fn a_layout_names_its_blobs_by_their_digests() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut root = Tree::default();
        root.bytes("saf-runtime", b"program".to_vec());
        write(&root, folder.path(), "1.2.3").expect("written");
        let blob = |digest: &Value| {
            let digest = digest.as_str().expect("a digest").strip_prefix("sha256:").expect("sha256");
            let data = fs::read(folder.path().join("blobs/sha256").join(digest)).expect("a blob");
            assert_eq!(hex(&Sha256::digest(&data)), digest);
            data
        };
        let index: Value =
            serde_json::from_slice(&fs::read(folder.path().join("index.json")).expect("there"))
                .expect("JSON");
        let manifest: Value = serde_json::from_slice(&blob(&index["manifests"][0]["digest"])).expect("JSON");
        let config: Value = serde_json::from_slice(&blob(&manifest["config"]["digest"])).expect("JSON");
        let mut layer = Vec::new();
        let packed = blob(&manifest["layers"][0]["digest"]);
        std::io::copy(&mut flate2::read::GzDecoder::new(&packed[..]), &mut layer).expect("gzip");
        assert_eq!(config["rootfs"]["diff_ids"][0], format!("sha256:{}", hex(&Sha256::digest(&layer))));
        let mut archive = tar::Archive::new(&layer[..]);
        let names: Vec<_> = archive
            .entries()
            .expect("a tar")
            .map(|entry| entry.expect("an entry").path().expect("a path").into_owned())
            .collect();
        assert_eq!(names, [Path::new("saf-runtime")]);
    }

    #[test]
    fn the_dockerfile_says_the_same() {
        let workspace = Workspace::find().expect("a checkout");
        let dockerfile = fs::read_to_string(workspace.root().join("Dockerfile")).expect("there");
        let config = config("", "amd64");
        let config = &config["config"];
        let ports: Vec<_> = config["ExposedPorts"]
            .as_object()
            .expect("ports")
            .keys()
            .map(|port| port.trim_end_matches("/tcp"))
            .collect();
        let volume = config["Volumes"].as_object().expect("volumes").keys().next().expect("one");
        for line in [
            format!("USER {}", config["User"].as_str().expect("a user")),
            format!("ENV {}", config["Env"][0].as_str().expect("a variable")),
            format!("ENTRYPOINT {}", config["Entrypoint"]),
            format!("EXPOSE {}", ports.join(" ")),
            format!("VOLUME {volume}"),
        ] {
            assert!(dockerfile.lines().any(|present| present == line), "the Dockerfile lacks: {line}");
        }
    }
}
