//! Registries that cut, stall and lie: each a small server of its own, and the real client against it.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::blobs::{Blobs, sha256};
use super::download::{Wanted, download};
use super::manifest::LARGEST;
use super::progress::Progress;
use super::reference::Reference;
use super::registry::{Credentials, Limits, Registry, Trouble};
use super::scratch::Scratch;
use crate::{Kind, Result, Settings};

/// What came in: method, path, and headers in lower case.
#[derive(Debug, Clone)]
struct Asked {
    method: String,
    path: String,
    headers: Vec<String>,
}

impl Asked {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

/// A registry that does what a test wants, and everything that it was asked.
struct Hostile {
    address: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Hostile {
    fn new(behave: impl Fn(&Asked, &mut TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("address").to_string();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (seen, behave) = (Arc::clone(&asked), Arc::new(behave));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (seen, behave) = (Arc::clone(&seen), Arc::clone(&behave));
                std::thread::spawn(move || serve(stream, &seen, &*behave));
            }
        });
        Self { address, asked }
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("asked").clone()
    }

    fn reference(&self) -> Reference {
        Reference::parse(&format!("{}/a/b:1", self.address)).expect("reference")
    }

    async fn open(&self, credentials: Option<Credentials>) -> Result<Registry, Trouble> {
        Registry::connect(&Settings::default(), &self.reference(), credentials, false, limits()).await
    }
}

/// One request a connection; what is no HTTP, such as the greeting of TLS, is cut off.
fn serve(
    mut stream: TcpStream,
    seen: &Mutex<Vec<Asked>>,
    behave: &(impl Fn(&Asked, &mut TcpStream) + ?Sized),
) {
    let mut reader = BufReader::new(stream.try_clone().expect("clone"));
    let mut line = String::new();
    if reader.read_line(&mut line).is_err() {
        return;
    }
    let mut words = line.split_whitespace().map(str::to_owned);
    let (Some(method), Some(path)) = (words.next(), words.next()) else { return };
    let headers = reader.lines().map_while(std::result::Result::ok).take_while(|line| !line.is_empty());
    let asked = Asked { method, path, headers: headers.map(|line| lowered(&line)).collect() };
    seen.lock().expect("asked").push(asked.clone());
    behave(&asked, &mut stream);
    // The door stands open unless the test has answered there itself.
    if asked.path == "/v2/" {
        say(&mut stream, "200 OK", &[], b"{}");
    }
}

fn lowered(line: &str) -> String {
    let (name, value) = line.split_once(':').unwrap_or((line, ""));
    format!("{}: {}", name.to_ascii_lowercase(), value.trim())
}

fn say(stream: &mut TcpStream, status: &str, headers: &[&str], body: &[u8]) {
    let mut head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n", body.len());
    for header in headers {
        head += &format!("{header}\r\n");
    }
    // The client may have turned away already.
    stream.write_all(format!("{head}\r\n").as_bytes()).and_then(|()| stream.write_all(body)).ok();
}

fn limits() -> Limits {
    Limits {
        connect: Duration::from_secs(5),
        silence: Duration::from_millis(300),
        window: Duration::from_millis(600),
        least: 4096,
        attempts: 3,
        back_off: Duration::from_millis(10),
    }
}

fn content() -> Vec<u8> {
    (0..400_000_u32).flat_map(u32::to_le_bytes).collect()
}

/// Fetches the blob of [`content`] from there.
async fn fetch(registry: &Hostile, size: u64) -> (Result<()>, Scratch, Blobs) {
    let scratch = Scratch::new(&format!("hostile-{}", registry.address.replace(':', "-")));
    let blobs = Blobs::open(&scratch.0).expect("blobs");
    let (progress, mut lines) = Progress::channel();
    tokio::spawn(async move { while lines.recv().await.is_some() {} });
    let client = registry.open(None).await.expect("connected");
    let wanted = Wanted { digest: sha256(&content()), size, shown: "0123456789ab".to_owned() };
    let fetched = download(&client, &blobs, &wanted, &limits(), &progress).await;
    let done = fetched.and_then(|draft| draft.keep(Some(&wanted.digest)).map(drop));
    (done, scratch, blobs)
}

fn range(asked: &Asked) -> Option<usize> {
    asked.header("range")?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
}

#[tokio::test]
async fn what_is_cut_off_is_taken_up_again() {
    let registry = Hostile::new(|asked, stream| {
        let whole = content();
        let from = match range(asked) {
            _ if !asked.path.contains("/blobs/") => return,
            Some(from) => from,
            None => 0,
        };
        let rest = &whole[from..];
        let status = if from > 0 { "206 Partial Content" } else { "200 OK" };
        let range = format!("Content-Range: bytes {from}-{}/{}", whole.len() - 1, whole.len());
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n{range}\r\n\r\n", rest.len());
        stream.write_all(head.as_bytes()).expect("head");
        // Half a megabyte each time, and then the cable.
        stream.write_all(&rest[..rest.len().min(500_000)]).ok();
    });
    let (done, _scratch, blobs) = fetch(&registry, 1_600_000).await;
    done.expect("downloaded in the end");
    assert_eq!(blobs.read(&sha256(&content()), 2_000_000).expect("blob"), content());
    let offsets: Vec<usize> = registry.asked().iter().filter_map(range).collect();
    assert!(offsets.len() >= 3 && offsets.is_sorted(), "{offsets:?}");
}

#[tokio::test]
async fn without_ranges_it_begins_anew() {
    let registry = Hostile::new(|asked, stream| {
        if !asked.path.contains("/blobs/") {
            return;
        }
        let whole = content();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", whole.len());
        let sent = if range(asked).is_some() { whole.len() } else { 100_000 };
        stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&whole[..sent])).ok();
    });
    let (done, _scratch, blobs) = fetch(&registry, 1_600_000).await;
    done.expect("downloaded in the end");
    assert_eq!(blobs.all().expect("blobs"), [sha256(&content())]);
}

/// Each of these must fail, soon, and leave nothing behind.
async fn fails(
    behave: impl Fn(&Asked, &mut TcpStream) + Send + Sync + 'static,
    size: u64,
) -> (String, usize) {
    let registry = Hostile::new(move |asked, stream| {
        if asked.path.contains("/blobs/") {
            behave(asked, stream);
        }
    });
    let begun = Instant::now();
    let (done, scratch, blobs) = fetch(&registry, size).await;
    let failure = done.expect_err("a lie");
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    assert!(blobs.all().expect("blobs").is_empty(), "{failure}");
    assert_eq!(std::fs::read_dir(scratch.0.join("tmp")).expect("tmp").count(), 0);
    let times = registry.asked().iter().filter(|asked| asked.path.contains("/blobs/")).count();
    (failure.message, times)
}

#[tokio::test]
async fn stalls_and_drips_end() {
    let stall = |_: &Asked, stream: &mut TcpStream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1600000\r\n\r\nx").ok();
        std::thread::sleep(Duration::from_secs(5));
    };
    let (message, times) = fails(stall, 1_600_000).await;
    assert!(message.contains("sends nothing any more") && times == 3, "{message} after {times}");
    let drip = |_: &Asked, stream: &mut TcpStream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1600000\r\n\r\n").ok();
        while stream.write_all(b"x").is_ok() {
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    let (message, times) = fails(drip, 1_600_000).await;
    assert!(message.contains("fewer than 4096 bytes") && times == 3, "{message} after {times}");
}

#[tokio::test]
async fn other_content_other_sizes_and_endless_bodies_are_refused() {
    let other = |_: &Asked, stream: &mut TcpStream| say(stream, "200 OK", &[], &vec![7; 1_600_000]);
    let (message, times) = fails(other, 1_600_000).await;
    assert!(message.starts_with("filesystem layer verification failed") && times == 1, "{message}");
    let short = |_: &Asked, stream: &mut TcpStream| say(stream, "200 OK", &[], &content()[..100]);
    let (message, _) = fails(short, 1_600_000).await;
    assert!(message.contains("unexpected EOF: 100 of 1600000 bytes"), "{message}");
    let endless = |_: &Asked, stream: &mut TcpStream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").ok();
        while stream.write_all(format!("10000\r\n{}\r\n", "x".repeat(65536)).as_bytes()).is_ok() {}
    };
    let (message, times) = fails(endless, 1_600_000).await;
    assert!(message.contains("longer than the 1600000 bytes of its manifest") && times == 1, "{message}");
    let part = |asked: &Asked, stream: &mut TcpStream| match range(asked) {
        None => drop(stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1600000\r\n\r\nabcdef")),
        Some(_) => say(stream, "206 Partial Content", &["Content-Range: bytes 0-9/10"], b"0123456789"),
    };
    let (message, _) = fails(part, 1_600_000).await;
    assert!(message.contains("another part than was asked for"), "{message}");
}

#[tokio::test]
async fn manifests_are_bounded_and_are_what_was_asked_for() {
    let registry = Hostile::new(|asked, stream| match asked.path.as_str() {
        "/v2/a/b/manifests/huge" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").ok();
            while stream.write_all(format!("10000\r\n{}\r\n", " ".repeat(65536)).as_bytes()).is_ok() {}
        }
        "/v2/a/b/manifests/lie" => {
            let digest = format!("Docker-Content-Digest: sha256:{}", "0".repeat(64));
            say(stream, "200 OK", &[&digest], b"{}");
        }
        "/v2/a/b/manifests/loop" => {
            say(stream, "307 Temporary Redirect", &["Location: /v2/a/b/manifests/loop"], b"")
        }
        path if path.contains("sha256:") => say(stream, "200 OK", &[], b"{}"),
        path if path.contains("/manifests/") => {
            let error =
                br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown \u001b[31m"}]}"#;
            say(stream, "404 Not Found", &[], error);
        }
        _ => {}
    });
    let client = registry.open(None).await.expect("connected");
    let client = &client;
    let failure = |name: String| async move { client.manifest(&name).await.expect_err("refused").text() };
    assert!(failure("huge".to_owned()).await.contains(&format!("longer than {LARGEST} bytes")));
    assert!(failure("lie".to_owned()).await.starts_with("manifest verification failed"));
    assert!(failure(format!("sha256:{}", "1".repeat(64))).await.starts_with("manifest verification failed"));
    assert!(failure("loop".to_owned()).await.contains("more than 5 redirections"));
    let missing = client.manifest("none").await.expect_err("missing").of_pull(&registry.reference());
    assert_eq!(missing.kind, Kind::NotFound);
    let expected = format!(
        "manifest for {}/a/b:1 not found: manifest unknown: manifest unknown  [31m",
        registry.address
    );
    assert_eq!(missing.message, expected);
}

#[tokio::test]
async fn credentials_stay_with_their_registry() {
    let elsewhere = Hostile::new(|asked, stream| {
        if asked.path == "/stolen" {
            say(stream, "200 OK", &[], b"{}");
        }
    });
    let target = format!("Location: http://{}/stolen", elsewhere.address);
    let registry = Hostile::new(move |asked, stream| match asked.header("authorization") {
        None => say(stream, "401 Unauthorized", &["WWW-Authenticate: Basic realm=\"x\""], b""),
        Some(_) if asked.path == "/v2/" => {}
        Some(_) => say(stream, "307 Temporary Redirect", &[&target], b""),
    });
    let credentials = Credentials { username: "u".into(), password: "p".into(), ..Credentials::default() };
    let client = registry.open(Some(credentials)).await.expect("connected");
    client.manifest("1").await.expect("followed");
    assert!(registry.asked().iter().any(|asked| asked.header("authorization") == Some("Basic dTpw")));
    let seen = elsewhere.asked();
    let stolen = seen.iter().find(|asked| asked.path == "/stolen").expect("followed");
    assert_eq!((stolen.header("authorization"), stolen.method.as_str()), (None, "GET"));
}

#[tokio::test]
async fn tokens_are_fetched_and_wrong_credentials_are_told() {
    let registry = Hostile::new(|asked, stream| {
        let host = asked.header("host").unwrap_or_default().to_owned();
        let challenge = format!("WWW-Authenticate: Bearer realm=\"http://{host}/token\",service=\"s\"");
        match (asked.path.split('?').next().unwrap_or_default(), asked.header("authorization")) {
            ("/token", Some("Basic dTpw")) => say(stream, "200 OK", &[], br#"{"token":"good"}"#),
            ("/token", Some(_)) => {
                say(stream, "401 Unauthorized", &[], br#"{"details":"incorrect username or password"}"#);
            }
            ("/token", None) => say(stream, "200 OK", &[], br#"{"token":"anonymous"}"#),
            (_, Some("Bearer good")) => say(stream, "200 OK", &[], b"{}"),
            ("/v2/", _) => say(stream, "401 Unauthorized", &[&challenge], b""),
            _ => {
                let error = br#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#;
                say(stream, "401 Unauthorized", &[&challenge], error);
            }
        }
    });
    let as_user = |password: &str| {
        Some(Credentials { username: "u".into(), password: password.into(), ..Credentials::default() })
    };
    registry.open(as_user("p")).await.expect("connected").manifest("1").await.expect("admitted");
    let refused = registry.open(as_user("q")).await.expect_err("refused").failure();
    assert_eq!(
        (refused.kind, refused.message.as_str()),
        (Kind::Unauthorized, "unauthorized: incorrect username or password")
    );
    let anonymous = registry.open(None).await.expect("connected").manifest("1").await.expect_err("refused");
    let told = anonymous.of_pull(&registry.reference());
    assert!(told.message.starts_with("pull access denied for") && told.kind == Kind::NotFound, "{told}");
    let scope = "scope=repository%3Aa%2Fb%3Apull";
    assert!(registry.asked().iter().any(|asked| asked.path.contains(scope)));
}

#[tokio::test]
async fn what_passes_is_tried_again() {
    let count = Mutex::new(0);
    let registry = Hostile::new(move |asked, stream| {
        if asked.path.contains("/manifests/") {
            let mut count = count.lock().expect("count");
            *count += 1;
            say(stream, if *count < 3 { "503 Service Unavailable" } else { "200 OK" }, &[], b"{}");
        }
    });
    let client = registry.open(None).await.expect("connected");
    client.manifest("1").await.expect("in the end");
}
