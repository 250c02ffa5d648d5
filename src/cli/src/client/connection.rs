//! Connections, and what goes over them: one call each, so that nothing waits behind a stream.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use casemate_spec::{Error, Result};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::upgrade::Upgraded;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::Client;

/// The version of the API that we speak.
const VERSION: &str = "/v1.51";

/// What goes along with a question.
#[derive(Debug)]
pub struct Upload {
    kind: Option<&'static str>,
    bytes: Bytes,
}

impl Upload {
    /// Nothing.
    pub fn none() -> Self {
        Self { kind: None, bytes: Bytes::new() }
    }

    /// A document.
    pub fn json(document: &Value) -> Self {
        Self { kind: Some("application/json"), bytes: document.to_string().into() }
    }

    /// An archive.
    pub fn tar(bytes: Vec<u8>) -> Self {
        Self { kind: Some("application/x-tar"), bytes: bytes.into() }
    }
}

impl Client {
    /// Asks, and waits for the whole answer.
    ///
    /// # Errors
    /// The daemon cannot be reached, or says no: the error is what it says.
    pub async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        let response = self.stream(method, path, body).await?;
        let bytes = whole(response.into_body()).await.map_err(|error| self.broken(&error))?;
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&bytes)
            .map_err(|error| Error::new(self.authority.clone(), format!("its answer: {error}")))
    }

    /// Asks for an answer that comes in pieces.
    ///
    /// # Errors
    /// As for [`Client::call`].
    pub async fn stream(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Response<Incoming>> {
        let body = body.map_or_else(Upload::none, Upload::json);
        self.upload(method, path, body).await
    }

    /// Asks with a body of some kind, for an answer that comes in pieces.
    ///
    /// # Errors
    /// As for [`Client::call`].
    pub async fn upload(&self, method: Method, path: &str, body: Upload) -> Result<Response<Incoming>> {
        let response = self.send(method, path, body, None).await?;
        if response.status().is_success() || response.status() == StatusCode::NOT_MODIFIED {
            return Ok(response);
        }
        Err(self.refused(response).await)
    }

    /// Asks for a stream in both directions.
    ///
    /// # Errors
    /// As for [`Client::call`].
    pub async fn hijack(&self, path: &str, body: Option<&Value>) -> Result<TokioIo<Upgraded>> {
        let body = body.map_or_else(Upload::none, Upload::json);
        let response = self.send(Method::POST, path, body, Some("tcp")).await?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(self.refused(response).await);
        }
        let upgraded = hyper::upgrade::on(response).await.map_err(|error| self.broken(&error))?;
        Ok(TokioIo::new(upgraded))
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Upload,
        upgrade: Option<&str>,
    ) -> Result<Response<Incoming>> {
        let mut request = Request::builder().method(method).uri(format!("{VERSION}{path}"));
        request = request.header("Host", &self.authority);
        if let Some(protocol) = upgrade {
            request = request.header("Connection", "Upgrade").header("Upgrade", protocol);
        }
        if let Some(kind) = body.kind {
            request = request.header("Content-Type", kind);
        }
        let request =
            request.body(Full::new(body.bytes)).map_err(|error| Error::new("request", error.to_string()))?;
        let mut sender = connect(self).await?;
        sender.send_request(request).await.map_err(|error| self.broken(&error))
    }

    async fn refused(&self, response: Response<Incoming>) -> Error {
        let status = response.status();
        let body = whole(response.into_body()).await.unwrap_or_default();
        let message = serde_json::from_slice::<Value>(&body).ok();
        let message = message.as_ref().and_then(|body| body["message"].as_str());
        let why = message.map_or_else(|| format!("it answers {status}"), str::to_owned);
        let error = Error::new(if message.is_some() { "" } else { &self.authority }, why);
        if status == StatusCode::NOT_FOUND { error.exit(super::NOT_FOUND) } else { error }
    }

    fn broken(&self, error: &hyper::Error) -> Error {
        Error::new(self.authority.clone(), error.to_string())
    }
}

async fn whole(body: Incoming) -> Result<Bytes, hyper::Error> {
    Ok(body.collect().await?.to_bytes())
}

/// Connects; the connection is driven by a task of its own.
async fn connect(client: &Client) -> Result<SendRequest<Full<Bytes>>> {
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
