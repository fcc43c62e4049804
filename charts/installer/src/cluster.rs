//! The Kubernetes API, as far as the installer needs it: its own node, the installers' pods, their DaemonSet. HTTP/1.1
//! with the service account that the pod has.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Where every pod finds what its service account has.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// Most bytes of an answer. A node with many images has some hundred KiB.
const LIMIT: usize = 64 << 20;
const PATIENCE: Duration = Duration::from_secs(30);

/// What went wrong with the API.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClusterError {
    #[error("{0} is not set: this is to run in a pod")]
    NotInPod(&'static str),
    #[error("{}: {source}", path.display())]
    Account { path: PathBuf, source: std::io::Error },
    #[error("the certificate authority in {} cannot be used: {reason}", path.display())]
    Authority { path: PathBuf, reason: String },
    #[error("the API server at {server}: {reason}")]
    Connection { server: String, reason: String },
    #[error("{method} {path}: the API server answers {status}: {message}")]
    Refused {
        method: Method,
        path: String,
        status: StatusCode,
        message: String,
    },
}

/// The API server, and who we are to it.
#[derive(Clone)]
pub(crate) struct Cluster {
    host: String,
    port: u16,
    account: PathBuf,
    tls: Arc<ClientConfig>,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster")
            .field("host", &self.host)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

impl Cluster {
    /// By what the kubelet puts into every pod.
    pub(crate) fn of_pod() -> Result<Cluster, ClusterError> {
        let var = |name| std::env::var(name).map_err(|_| ClusterError::NotInPod(name));
        let host = var("KUBERNETES_SERVICE_HOST")?;
        let port = var("KUBERNETES_SERVICE_PORT")?
            .parse()
            .map_err(|_| ClusterError::NotInPod("KUBERNETES_SERVICE_PORT"))?;
        Cluster::new(&host, port, Path::new(ACCOUNT))
    }

    pub(crate) fn new(host: &str, port: u16, account: &Path) -> Result<Cluster, ClusterError> {
        let path = account.join("ca.crt");
        let wrong = |reason: String| ClusterError::Authority {
            path: path.clone(),
            reason,
        };
        let pem = fs::read(&path).map_err(|source| ClusterError::Account {
            path: path.clone(),
            source,
        })?;
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            let certificate = certificate.map_err(|e| wrong(e.to_string()))?;
            roots.add(certificate).map_err(|e| wrong(e.to_string()))?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| wrong(e.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Cluster {
            host: host.into(),
            port,
            account: account.into(),
            tls: Arc::new(tls),
        })
    }

    /// The namespace of the pod.
    pub(crate) fn namespace(&self) -> Result<String, ClusterError> {
        self.secret("namespace")
    }

    /// An object, or a list; `None` if it is not there.
    pub(crate) fn get(&self, path: &str) -> Result<Option<Value>, ClusterError> {
        self.call(Method::GET, path, None)
    }

    /// Changes an object by a merge patch (RFC 7396); `None` if it is not there.
    pub(crate) fn patch(&self, path: &str, patch: &Value) -> Result<Option<Value>, ClusterError> {
        self.call(Method::PATCH, path, Some(patch))
    }

    /// Deletes an object; `None` if it is not there.
    pub(crate) fn delete(&self, path: &str) -> Result<Option<Value>, ClusterError> {
        self.call(Method::DELETE, path, None)
    }

    fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Option<Value>, ClusterError> {
        let failed = |reason: String| ClusterError::Connection {
            server: format!("{}:{}", self.host, self.port),
            reason,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| failed(e.to_string()))?;
        // Read each time: the kubelet replaces it before it expires.
        let token = self.secret("token")?;
        let exchange = self.exchange(method.clone(), path, &token, body);
        let (status, bytes) = runtime
            .block_on(async { tokio::time::timeout(PATIENCE, exchange).await })
            .map_err(|_| failed(format!("no answer within {} s", PATIENCE.as_secs())))?
            .map_err(failed)?;
        if status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let value: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        if status.is_success() {
            return Ok(Some(value));
        }
        let message = value["message"].as_str().unwrap_or("without a message");
        Err(ClusterError::Refused {
            method,
            path: path.into(),
            status,
            message: message.chars().take(500).collect(),
        })
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        token: &str,
        body: Option<&Value>,
    ) -> Result<(StatusCode, Bytes), String> {
        let text = |e: hyper::Error| e.to_string();
        let bare = self.host.trim_start_matches('[').trim_end_matches(']');
        let name = match bare.parse::<IpAddr>() {
            Ok(address) => ServerName::from(address),
            Err(_) => ServerName::try_from(bare.to_string()).map_err(|e| e.to_string())?,
        };
        let stream = TcpStream::connect((bare, self.port))
            .await
            .map_err(|e| e.to_string())?;
        let stream = TlsConnector::from(Arc::clone(&self.tls))
            .connect(name, stream)
            .await
            .map_err(|e| e.to_string())?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(text)?;
        let connection = tokio::spawn(connection);
        let authority = if bare.contains(':') {
            format!("[{bare}]:{}", self.port)
        } else {
            format!("{bare}:{}", self.port)
        };
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", authority)
            .header("authorization", format!("Bearer {token}"))
            .header("accept", "application/json")
            .header("user-agent", concat!("mote-install/", env!("CARGO_PKG_VERSION")));
        if body.is_some() {
            request = request.header("content-type", "application/merge-patch+json");
        }
        let bytes = body.map(Value::to_string).unwrap_or_default();
        let request = request
            .body(Full::new(Bytes::from(bytes)))
            .map_err(|e| e.to_string())?;
        let response = sender.send_request(request).await.map_err(text)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), LIMIT)
            .collect()
            .await
            .map_err(|e| e.to_string())?;
        connection.abort();
        Ok((status, body.to_bytes()))
    }

    fn secret(&self, name: &str) -> Result<String, ClusterError> {
        let path = self.account.join(name);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(text.trim().into()),
            Err(source) => Err(ClusterError::Account { path, source }),
        }
    }
}
