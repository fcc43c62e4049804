//! TLS to the outside: a server of the test's own, with a certificate by an authority that the host trusts or does not.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    convert::Infallible,
    path::{Path, PathBuf},
    sync::Arc,
};

use hyper::{Request, Response, body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use mote_e2e::{
    cli::Run,
    kvm, paths,
    serve::{Server, load::get},
};
use tokio::{net::TcpListener, runtime::Runtime};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};

/// The protocols that ALPN chooses from. (RFC 7301)
const BOTH: [&str; 2] = ["h2", "http/1.1"];

fn certificate(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("certificates")
        .join(name)
}

/// A server for `localhost` that answers with the request's version and path, and its port. It ends with the runtime.
fn server(protocols: &[&str]) -> (Runtime, u16) {
    let chain = CertificateDer::from_pem_file(certificate("localhost.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(certificate("localhost.key")).unwrap();
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![chain], key)
        .unwrap();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let runtime = Runtime::new().unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let port = listener.local_addr().unwrap().port();
    runtime.spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // Clients that do not trust it leave.
                let Ok(stream) = acceptor.accept(stream).await else {
                    return;
                };
                let _ = auto::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service_fn(answer))
                    .await;
            });
        }
    });
    (runtime, port)
}

async fn answer(request: Request<Incoming>) -> Result<Response<String>, Infallible> {
    let text = format!("{:?} {}", request.version(), request.uri().path());
    Ok(Response::new(text))
}

/// What a component that serves gets for a URL, if the host trusts the authorities in a bundle.
fn served(bundle: &str, url: &str) -> String {
    let bundle = certificate(bundle);
    let env = [("SSL_CERT_FILE", bundle.to_str().unwrap())];
    let server = Server::start_with(&["--net"], &env, &paths::program("exchange-rust"));
    let path = format!("/fetch?{url}");
    let answer = Runtime::new().unwrap().block_on(get(server.address, &path));
    answer.unwrap().1
}

/// What a command gets.
fn ran(bundle: &str, url: &str) -> String {
    let ran = Run::with_options(["--net"], paths::program("fetch-rust"))
        .args([url])
        .env("SSL_CERT_FILE", certificate(bundle))
        .run();
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    ran.stdout
}

#[test]
fn a_server_by_a_trusted_authority_is_asked() {
    if !kvm::ready() {
        return;
    }
    for (protocols, version) in [
        (&BOTH[..], "HTTP/2.0"),
        (&BOTH[1..], "HTTP/1.1"),
        (&[], "HTTP/1.1"),
    ] {
        let (_runtime, port) = server(protocols);
        let url = format!("https://localhost:{port}/a");
        let expected = format!("200 {version} /a\n");
        assert_eq!(served("trusted.pem", &url), expected, "{protocols:?}");
        assert_eq!(ran("trusted.pem", &url), expected, "{protocols:?}");
    }
}

#[test]
fn a_server_by_another_authority_or_of_another_name_is_not() {
    if !kvm::ready() {
        return;
    }
    let (_runtime, port) = server(&BOTH);
    for (bundle, host) in [("other.pem", "localhost"), ("trusted.pem", "127.0.0.1")] {
        let url = format!("https://{host}:{port}/a");
        for text in [served(bundle, &url), ran(bundle, &url)] {
            assert!(text.contains("TlsCertificateError"), "{bundle} {host}: {text}");
        }
    }
    // A server without TLS.
    let plain = Server::start(&[], &paths::program("exchange-rust"));
    let url = format!("https://localhost:{}/hello", plain.address.port());
    let text = ran("trusted.pem", &url);
    assert!(text.contains("Tls") && text.starts_with("failed"), "{text}");
}
