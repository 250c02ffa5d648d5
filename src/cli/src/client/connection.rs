//! One connection, and what goes over it.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use casemate_spec::{Error, Result};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::Client;

/// What an unary call came to.
#[derive(Debug)]
pub struct Answer {
    /// HTTP's status.
    pub status: StatusCode,
    /// The body.
    #[expect(dead_code, reason = "read by the verbs that print it")]
    pub body: Bytes,
}

/// Asks once, and waits for the whole answer.
///
/// # Errors
/// The daemon cannot be reached, or breaks off.
pub fn once(client: &Client, method: &str, path: &str) -> Result<Answer> {
    let failed = |error: std::io::Error| Error::io(client.authority.clone(), &error);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    runtime.block_on(async {
        let mut sender = connect(client).await?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("Host", &client.authority)
            .body(Full::new(Bytes::new()))
            .map_err(|error| Error::new("request", error.to_string()))?;
        let broken = |error: hyper::Error| Error::new(client.authority.clone(), error.to_string());
        let response = sender.send_request(request).await.map_err(broken)?;
        let status = response.status();
        let body = whole(response.into_body()).await.map_err(broken)?;
        Ok(Answer { status, body })
    })
}

async fn whole(body: Incoming) -> Result<Bytes, hyper::Error> {
    Ok(body.collect().await?.to_bytes())
}

/// Connects; the connection is driven by a task of its own.
///
/// # Errors
/// The daemon cannot be reached, is not who it says, or does not take our certificate.
pub async fn connect(client: &Client) -> Result<SendRequest<Full<Bytes>>> {
    let unreachable = |error: std::io::Error| Error::io(format!("connect to {}", client.authority), &error);
    let config = config(&client.certificates)?;
    let stream = TcpStream::connect(&client.authority).await.map_err(unreachable)?;
    stream.set_nodelay(true).map_err(unreachable)?;
    let host = client.authority.rsplit_once(':').map_or(client.authority.as_str(), |(host, _)| host);
    let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())
        .map_err(|error| Error::new(client.authority.clone(), error.to_string()))?;
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(unreachable)?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| Error::new(client.authority.clone(), error.to_string()))?;
    tokio::spawn(async move {
        // Whoever waits for an answer hears of a broken connection too.
        connection.with_upgrades().await.ok();
    });
    Ok(sender)
}

fn config(certificates: &Path) -> Result<ClientConfig> {
    let refuse = |name: &str, why: String| {
        Error::new(certificates.join(name).display().to_string(), why)
            .hint("`casemate pki issue` makes a client's certificates")
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(certificates.join("ca.pem"))
        .map_err(|error| refuse("ca.pem", error.to_string()))?
    {
        let certificate = certificate.map_err(|error| refuse("ca.pem", error.to_string()))?;
        roots.add(certificate).map_err(|error| refuse("ca.pem", error.to_string()))?;
    }
    let chain = CertificateDer::pem_file_iter(certificates.join("cert.pem"))
        .and_then(Iterator::collect)
        .map_err(|error| refuse("cert.pem", error.to_string()))?;
    let key = PrivateKeyDer::from_pem_file(certificates.join("key.pem"))
        .map_err(|error| refuse("key.pem", error.to_string()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::new("TLS", error.to_string()))?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .map_err(|error| refuse("cert.pem", error.to_string()))
}
