//! A client of the API that can do what no well-behaved one does.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use casemate_tests::Value;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::pki::{Authority, Certificate};

/// Whoever waits longer waits in vain.
const PATIENCE: Duration = Duration::from_secs(20);

/// A client.
#[derive(Clone)]
pub struct Client {
    address: SocketAddr,
    config: Arc<ClientConfig>,
}

/// A connection over TLS.
pub type Connection = StreamOwned<ClientConnection, TcpStream>;

/// What came back.
#[derive(Debug)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// The headers, as they came.
    pub head: String,
    /// The body, chunks joined.
    pub body: Vec<u8>,
}

impl Client {
    /// One that believes `authority` and shows `certificate`, if any.
    ///
    /// # Panics
    /// When the certificates cannot be used.
    pub fn new(address: SocketAddr, authority: &Authority, certificate: Option<&Certificate>) -> Self {
        Self::speaking(address, authority, certificate, &[&rustls::version::TLS13])
    }

    /// The same, in these versions of TLS only.
    ///
    /// # Panics
    /// When the certificates cannot be used.
    pub fn speaking(
        address: SocketAddr,
        authority: &Authority,
        certificate: Option<&Certificate>,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> Self {
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_slice(authority.pem().as_bytes()).expect("a certificate");
        roots.add(root).expect("a root");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("versions")
            .with_root_certificates(roots);
        let config = match certificate {
            None => builder.with_no_client_auth(),
            Some(certificate) => {
                let chain = CertificateDer::pem_slice_iter(certificate.chain.as_bytes());
                let chain = chain.collect::<Result<_, _>>().expect("a chain");
                let key = PrivateKeyDer::from_pem_slice(certificate.key.as_bytes()).expect("a key");
                builder.with_client_auth_cert(chain, key).expect("a client certificate")
            }
        };
        Self { address, config: Arc::new(config) }
    }

    /// A connection; in TLS 1.3 the server's judgement of the certificate shows only when something is read.
    ///
    /// # Errors
    /// The server refuses.
    pub fn connect(&self) -> std::io::Result<Connection> {
        let tcp = TcpStream::connect(self.address)?;
        tcp.set_read_timeout(Some(PATIENCE))?;
        tcp.set_write_timeout(Some(PATIENCE))?;
        let name = ServerName::from(self.address.ip());
        let tls = ClientConnection::new(Arc::clone(&self.config), name).map_err(std::io::Error::other)?;
        let mut stream = StreamOwned::new(tls, tcp);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(stream)
    }

    /// One request on a connection of its own.
    ///
    /// # Errors
    /// The server refuses, or breaks off.
    pub fn try_request(
        &self,
        method: &str,
        path: &str,
        headers: &[&str],
        body: &[u8],
    ) -> std::io::Result<Reply> {
        let mut connection = self.connect()?;
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: casemate\r\nConnection: close\r\n");
        for header in headers {
            head += header;
            head += "\r\n";
        }
        if !body.is_empty() || method == "POST" {
            head += &format!("Content-Length: {}\r\n", body.len());
        }
        head += "\r\n";
        connection.write_all(head.as_bytes())?;
        connection.write_all(body)?;
        read_reply(&mut connection, method == "HEAD")
    }

    /// The same, where it has to be answered.
    ///
    /// # Panics
    /// When it is not.
    #[track_caller]
    pub fn request(&self, method: &str, path: &str, body: Option<&Value>) -> Reply {
        let text = body.map(Value::to_string).unwrap_or_default();
        let headers: &[&str] = if body.is_some() { &["Content-Type: application/json"] } else { &[] };
        let reply = self.try_request(method, path, headers, text.as_bytes());
        reply.unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// `GET`
    ///
    /// # Panics
    /// When it is not answered.
    #[track_caller]
    pub fn fetch(&self, path: &str) -> Reply {
        self.request("GET", path, None)
    }
}

impl Reply {
    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

/// Reads an answer to its end.
///
/// # Errors
/// The connection breaks off.
pub fn read_reply(connection: &mut impl Read, bodiless: bool) -> std::io::Result<Reply> {
    let mut bytes = Vec::new();
    let mut piece = [0_u8; 4096];
    loop {
        if let Some(reply) = parse(&bytes, bodiless) {
            return Ok(reply);
        }
        match connection.read(&mut piece) {
            Ok(0) => return parse(&bytes, true).ok_or_else(|| ErrorKind::UnexpectedEof.into()),
            Ok(read) => bytes.extend_from_slice(&piece[..read]),
            Err(error) => return Err(error),
        }
    }
}

/// The whole answer, once it is there.
fn parse(bytes: &[u8], bodiless: bool) -> Option<Reply> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let rest = &bytes[end + 4..];
    let mut reply = Reply { status, head, body: rest.to_vec() };
    if bodiless || matches!(status, 101 | 204 | 304) {
        return Some(reply);
    }
    if let Some(length) = reply.header("content-length").and_then(|length| length.parse::<usize>().ok()) {
        return (rest.len() >= length).then_some(reply);
    }
    reply.body = chunks(rest)?;
    Some(reply)
}

fn chunks(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = rest.windows(2).position(|window| window == b"\r\n")?;
        let length = usize::from_str_radix(std::str::from_utf8(&rest[..line]).ok()?, 16).ok()?;
        let chunk = rest.get(line + 2..line + 2 + length)?;
        if length == 0 {
            return Some(body);
        }
        body.extend_from_slice(chunk);
        rest = rest.get(line + 4 + length..)?;
    }
}
