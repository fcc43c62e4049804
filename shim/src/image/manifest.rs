//! Image indexes and manifests, as far as a Wasm layer is found in them (OCI image specification, `image-index.md`,
//! `manifest.md`; Docker's older types have the same fields).

use std::collections::BTreeMap;

use serde::Deserialize;

/// Media types of layers that are a Wasm file.
pub(crate) const WASM_LAYERS: [&str; 3] = [
    "application/wasm",
    "application/vnd.bytecodealliance.wasm.component.layer.v0+wasm",
    "application/vnd.wasm.content.layer.v1+wasm",
];

/// Annotation with a layer's file name (OCI `annotations.md`).
const TITLE: &str = "org.opencontainers.image.title";

/// A reference to a blob.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Descriptor {
    pub media_type: String,
    pub digest: String,
    pub size: u64,
    pub annotations: BTreeMap<String, String>,
    pub platform: Option<Platform>,
}

/// What an entry of an index is for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Platform {
    pub os: String,
    pub architecture: String,
}

/// An index or a manifest: which one shows in the fields that are filled.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Document {
    pub manifests: Vec<Descriptor>,
    pub config: Option<Descriptor>,
    pub layers: Vec<Descriptor>,
}

/// What a manifest has.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Choice<'a> {
    Layer(&'a Descriptor),
    /// Several Wasm layers, none of which is the program by its title; their titles or digests.
    Ambiguous(String),
    /// No Wasm layer; the media types that there are.
    None(String),
}

impl Descriptor {
    /// Whether a blob of this type is an index.
    #[must_use]
    pub(crate) fn is_index(&self) -> bool {
        self.media_type.ends_with("image.index.v1+json") || self.media_type.ends_with("manifest.list.v2+json")
    }

    fn is_wasm_platform(&self) -> bool {
        let Some(platform) = &self.platform else {
            return false;
        };
        platform.architecture == "wasm" || matches!(platform.os.as_str(), "wasi" | "wasip1" | "wasip2")
    }

    fn label(&self) -> &str {
        self.annotations.get(TITLE).unwrap_or(&self.digest)
    }
}

impl Document {
    /// The entries of an index that may hold Wasm, best first: those for a Wasm platform, then those without one.
    #[must_use]
    pub(crate) fn candidates(&self) -> Vec<&Descriptor> {
        let wasm = self.manifests.iter().filter(|d| d.is_wasm_platform());
        wasm.chain(self.manifests.iter().filter(|d| d.platform.is_none()))
            .collect()
    }

    /// The platforms of an index, for messages.
    #[must_use]
    pub(crate) fn platforms(&self) -> String {
        let name = |d: &Descriptor| match &d.platform {
            Some(p) => format!("{}/{}", p.os, p.architecture),
            None => "none".to_owned(),
        };
        self.manifests.iter().map(name).collect::<Vec<_>>().join(", ")
    }

    /// The layer that is `program`.
    #[must_use]
    pub(crate) fn wasm_layer(&self, program: &str) -> Choice<'_> {
        let wasm: Vec<_> = self
            .layers
            .iter()
            .filter(|l| WASM_LAYERS.contains(&l.media_type.as_str()))
            .collect();
        match wasm.as_slice() {
            [one] => Choice::Layer(one),
            [] => {
                let config = self.config.iter().map(|c| c.media_type.as_str());
                let types: Vec<_> = config
                    .chain(self.layers.iter().map(|l| l.media_type.as_str()))
                    .collect();
                Choice::None(types.join(", "))
            }
            several => {
                let file = program.rsplit('/').next().unwrap_or(program);
                let titled = |l: &&&Descriptor| l.label().rsplit('/').next() == Some(file);
                match several.iter().find(titled) {
                    Some(layer) => Choice::Layer(layer),
                    None => {
                        Choice::Ambiguous(several.iter().map(|l| l.label()).collect::<Vec<_>>().join(", "))
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Document {
        serde_json::from_str(json).unwrap()
    }

    fn manifest(layers: &[(&str, &str)]) -> Document {
        let layer = |(kind, title): &(&str, &str)| {
            format!(
                r#"{{"mediaType":"{kind}","digest":"sha256:{title}","size":8,"annotations":{{"{TITLE}":"{title}"}}}}"#
            )
        };
        let layers = layers.iter().map(layer).collect::<Vec<_>>().join(",");
        parse(&format!(
            r#"{{"config":{{"mediaType":"application/x"}},"layers":[{layers}]}}"#
        ))
    }

    #[test]
    fn each_wasm_layer_type_is_found() {
        for kind in WASM_LAYERS {
            let doc = manifest(&[
                ("application/vnd.oci.image.layer.v1.tar", "t"),
                (kind, "app.wasm"),
            ]);
            assert!(
                matches!(doc.wasm_layer("/x"), Choice::Layer(l) if l.media_type == kind),
                "{kind}"
            );
        }
    }

    #[test]
    fn several_layers_need_a_title() {
        let doc = manifest(&[("application/wasm", "a.wasm"), ("application/wasm", "b.wasm")]);
        assert!(matches!(doc.wasm_layer("/bin/b.wasm"), Choice::Layer(l) if l.digest == "sha256:b.wasm"));
        assert_eq!(
            doc.wasm_layer("/c.wasm"),
            Choice::Ambiguous("a.wasm, b.wasm".into())
        );
    }

    #[test]
    fn other_images_are_described() {
        let doc = manifest(&[("application/vnd.oci.image.layer.v1.tar+gzip", "t")]);
        let found = "application/x, application/vnd.oci.image.layer.v1.tar+gzip";
        assert_eq!(doc.wasm_layer("/x"), Choice::None(found.into()));
    }

    #[test]
    fn an_index_is_followed_to_wasm() {
        let doc = parse(
            r#"{"manifests": [
                {"digest": "1", "platform": {"os": "linux", "architecture": "amd64"}},
                {"digest": "2"},
                {"digest": "3", "platform": {"os": "wasip1", "architecture": "wasm"}},
                {"digest": "4", "platform": {"os": "wasi", "architecture": "wasm"}}]}"#,
        );
        let digests: Vec<_> = doc.candidates().iter().map(|d| d.digest.as_str()).collect();
        assert_eq!(digests, ["3", "4", "2"]);
        assert_eq!(doc.platforms(), "linux/amd64, none, wasip1/wasm, wasi/wasm");
        let docker = "application/vnd.docker.distribution.manifest.list.v2+json";
        assert!(
            Descriptor {
                media_type: docker.into(),
                ..Descriptor::default()
            }
            .is_index()
        );
    }
}
