//! TLS to the outside, with the host's root certificates.

use std::sync::Arc;

use mote_abi::http::{Failure, error_code};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::failure::{self, failure};
use crate::error::Error;

/// How servers are verified.
#[derive(Clone)]
pub(super) struct Tls(Arc<ClientConfig>);

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// Trusts the certificates in `roots`, which is PEM.
    pub(super) fn new(roots: &str) -> Result<Tls, Error> {
        let mut store = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(roots.as_bytes()) {
            let root = root.map_err(|e| Error::Roots(e.to_string()))?;
            // A host's bundle may hold one that is too old to be understood: then it is not trusted.
            let _ = store.add(root);
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| Error::Roots(e.to_string()))?
            .with_root_certificates(store)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Tls(Arc::new(config)))
    }

    /// Agrees upon TLS with `host`; whether HTTP/2 was chosen.
    pub(super) async fn connect(
        &self,
        host: &str,
        stream: TcpStream,
    ) -> Result<(TlsStream<TcpStream>, bool), Failure> {
        let name = host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(name.to_string())
            .map_err(|e| failure(error_code::HTTP_REQUEST_URI_INVALID, e))?;
        let stream = TlsConnector::from(Arc::clone(&self.0))
            .connect(name, stream)
            .await
            .map_err(|e| failure::tls(&e))?;
        let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        Ok((stream, http2))
    }
}
