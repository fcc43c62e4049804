//! A registry that has a few images, all tags of each alike, and may only be read. (OCI distribution specification,
//! "Pulling manifests" and "Pulling blobs")

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read as _, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use anyhow::{Context as _, Result};
use mote_e2e::images::Image;
use serde_json::Value;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

#[derive(Default)]
struct Store {
    /// Digest of the manifest by the last part of the repository's name.
    manifests: HashMap<String, String>,
    blobs: HashMap<String, Vec<u8>>,
}

/// Serves the images for as long as this process lives. Where.
pub(crate) fn serve(images: Vec<Image>) -> Result<SocketAddr> {
    let mut store = Store::default();
    for image in images {
        store.add(&image).with_context(|| image.name.clone())?;
    }
    let store = Arc::new(store);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let store = Arc::clone(&store);
            // One client that goes away is no reason to stop.
            thread::spawn(move || drop(store.answer(&stream)));
        }
    });
    Ok(address)
}

impl Store {
    fn add(&mut self, image: &Image) -> Result<()> {
        let mut index = Value::Null;
        for entry in tar::Archive::new(&image.archive()?[..]).entries()? {
            let mut entry = entry?;
            let path = entry.path()?.to_string_lossy().into_owned();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes)?;
            if path == "index.json" {
                index = serde_json::from_slice(&bytes)?;
            } else if let Some(digest) = path.strip_prefix("blobs/sha256/") {
                self.blobs.insert(format!("sha256:{digest}"), bytes);
            }
        }
        let digest = index["manifests"][0]["digest"].as_str().context("no manifest")?;
        let name = image
            .name
            .rsplit('/')
            .next()
            .and_then(|name| name.split(':').next());
        self.manifests
            .insert(name.context("no name")?.into(), digest.into());
        Ok(())
    }

    /// Answers one request.
    fn answer(&self, stream: &TcpStream) -> Result<()> {
        let mut lines = BufReader::new(stream).lines();
        let request = lines.next().context("no request")??;
        while !lines.next().context("no end of the head")??.is_empty() {}
        let mut words = request.split(' ');
        let (method, target) = words.next().zip(words.next()).context("no target")?;
        let found = self.find(target.split('?').next().unwrap_or_default());
        let (status, media_type, digest, body) = match found {
            Some((media_type, digest, body)) => ("200 OK", media_type, digest, body),
            None => ("404 Not Found", "text/plain", "", &[][..]),
        };
        let mut stream = stream;
        write!(
            stream,
            "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-type: {media_type}\r\ncontent-length: {}\r\n\
             docker-content-digest: {digest}\r\n\r\n",
            body.len()
        )?;
        if method != "HEAD" {
            stream.write_all(body)?;
        }
        Ok(())
    }

    /// Media type, digest and bytes of what a path names.
    fn find(&self, path: &str) -> Option<(&'static str, &str, &[u8])> {
        let path = path.strip_prefix("/v2/")?;
        if let Some((repository, reference)) = path.split_once("/manifests/") {
            let digest = self.manifests.get(repository.rsplit('/').next()?)?;
            if reference.starts_with("sha256:") && reference != digest {
                return None;
            }
            return Some((MANIFEST, digest, self.blobs.get(digest)?));
        }
        let (_, digest) = path.split_once("/blobs/")?;
        let (digest, bytes) = self.blobs.get_key_value(digest)?;
        Some(("application/octet-stream", digest, bytes))
    }
}
