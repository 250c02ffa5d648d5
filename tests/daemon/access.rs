//! Who gets in: only a client with a sound certificate of ours, over TLS 1.3, and not for longer than it is sound.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rcgen::ExtendedKeyUsagePurpose;

use crate::{Alone, Authority, Certificate, Client, Shape};

const ANNA: &str = "casemate://acme/anna?groups=developer";

/// What a refused client sees: no answer of HTTP, ever.
#[track_caller]
fn refused(what: &str, client: &Client) {
    if let Ok(reply) = client.try_request("GET", "/_ping", &[], b"") {
        panic!("{what}: admitted: {reply:?}");
    }
}

#[track_caller]
fn admitted(what: &str, client: &Client) {
    let reply = client.try_request("GET", "/_ping", &[], b"");
    assert!(reply.as_ref().is_ok_and(|reply| reply.status == 200), "{what}: {reply:?}");
}

#[test]
fn whoever_has_no_sound_certificate_is_refused() {
    let daemon = Alone::start("");
    let sound = Shape::client(ANNA);
    let with = |certificate: &Certificate| daemon.client_with(certificate);
    admitted("a sound one", &with(&daemon.authority.issue(&sound)));

    refused("none at all", &Client::new(daemon.address(), &daemon.authority, None));
    refused("of another authority", &with(&Authority::new("other").issue(&sound)));
    refused("of another authority of the same name", &with(&Authority::new("test authority").issue(&sound)));
    let expired = Shape { years: (2001, 2002), ..sound.clone() };
    refused("expired", &with(&daemon.authority.issue(&expired)));
    let future = Shape { years: (2089, 2090), ..sound.clone() };
    refused("not yet valid", &with(&daemon.authority.issue(&future)));
    refused("a server's", &with(&daemon.authority.issue_server()));
    let mail = Shape { usage: vec![ExtendedKeyUsagePurpose::EmailProtection], ..sound.clone() };
    refused("for mail", &with(&daemon.authority.issue(&mail)));
    let revoked = daemon.authority.issue(&sound);
    admitted("not yet revoked", &with(&revoked));
    daemon.authority.revoke(&revoked);
    daemon.publish_revocations();
    casemate_tests::wait_until("the revoked certificate is refused", || {
        with(&revoked).try_request("GET", "/_ping", &[], b"").is_err()
    });
    admitted("another of the same name", &with(&daemon.authority.issue(&sound)));

    let mut chained = daemon.authority.issue(&sound);
    let other = Authority::new("other").issue(&sound);
    chained.key.clone_from(&other.key);
    chained.chain = format!("{}{}", other.chain, chained.chain);
    refused("a strange one before a sound one", &with(&chained));
}

#[test]
fn a_certificate_names_one_sound_identity_or_nobody() {
    let daemon = Alone::start("");
    let uri = |uri: &str| daemon.client(uri);
    for good in [
        "casemate://acme/anna",
        "casemate://acme/anna?groups=",
        "casemate://acme/anna?groups=developer,viewer",
        "spiffe://example.org/acme/anna",
        "https://example.org/of-no-interest",
    ] {
        admitted(good, &uri(good));
    }
    for bad in [
        "casemate:acme/anna",
        "casemate://acme",
        "casemate:///anna",
        "casemate://acme/",
        "casemate://acme/anna/root",
        "casemate://acme/../default/root",
        "casemate://ACME/anna",
        "casemate://acme/an%6ea",
        "casemate://acme/anna?groups=admin&groups=viewer",
        "casemate://acme/anna?group=admin",
        "casemate://acme/anna?groups=admin?",
        "casemate://acme/anna#admin",
        "casemate://acme/anna?groups=a,,b",
        "casemate://root@acme/anna",
        "casemate://acme:1/anna",
        "spiffe://example.org/acme",
        "spiffe:///acme/anna",
        "spiffe://example.org/acme/anna/more",
    ] {
        refused(bad, &uri(bad));
    }
    let shape = Shape::client(ANNA);
    let two = Shape { uris: vec![ANNA.to_owned(), "casemate://other/anna".to_owned()], ..shape.clone() };
    refused("two identities", &daemon.client_with(&daemon.authority.issue(&two)));
    let nameless = Shape { uris: Vec::new(), names: Vec::new(), ..shape.clone() };
    refused("no name at all", &daemon.client_with(&daemon.authority.issue(&nameless)));
    let slash = Shape { uris: Vec::new(), names: vec!["acme/anna"], ..shape.clone() };
    refused("a common name with a slash", &daemon.client_with(&daemon.authority.issue(&slash)));
    let common = Shape { uris: Vec::new(), units: vec!["viewer"], ..shape };
    admitted("a common name", &daemon.client_with(&daemon.authority.issue(&common)));
}

#[test]
fn nothing_but_tls_1_3_is_spoken() {
    let daemon = Alone::start("");
    let anna = daemon.authority.issue(&Shape::client(ANNA));
    let old = [&rustls::version::TLS12];
    refused("TLS 1.2", &Client::speaking(daemon.address(), &daemon.authority, Some(&anna), &old));
    let mut plain = TcpStream::connect(daemon.address()).expect("connect");
    plain.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    plain.write_all(b"GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n").expect("write");
    let mut answer = Vec::new();
    plain.read_to_end(&mut answer).ok();
    assert!(!answer.starts_with(b"HTTP"), "plain HTTP was answered: {answer:?}");

    let admitting = Alone::start("[tls]\nminimum-version = \"1.2\"\n");
    let anna = admitting.authority.issue(&Shape::client(ANNA));
    let client = Client::speaking(admitting.address(), &admitting.authority, Some(&anna), &old);
    admitted("TLS 1.2 where it is configured", &client);
    refused(
        "TLS 1.2 without a certificate",
        &Client::speaking(admitting.address(), &admitting.authority, None, &old),
    );
}

/// Reads until the server ends the connection; how long that took.
#[track_caller]
fn ends(what: &str, connection: &mut impl Read) -> Duration {
    let begun = Instant::now();
    let mut rest = Vec::new();
    // Broken off, or closed: either is an end, but a timeout of ours is none.
    if let Err(error) = connection.read_to_end(&mut rest) {
        assert!(error.kind() != std::io::ErrorKind::WouldBlock, "{what}: still open");
    }
    begun.elapsed()
}

#[test]
fn revocation_ends_what_is_under_way() {
    let daemon = Alone::start("");
    let anna = daemon.authority.issue(&Shape::client(ANNA));
    let ben = daemon.client("casemate://acme/ben?groups=admin");
    let mut idle = daemon.client_with(&anna).connect().expect("connect");
    let mut streaming = daemon.client_with(&anna).connect().expect("connect");
    streaming.write_all(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n").expect("ask for events");
    let mut first = [0_u8; 1];
    streaming.read_exact(&mut first).expect("the answer begins");
    let mut bens = ben.connect().expect("connect");
    daemon.authority.revoke(&anna);
    daemon.publish_revocations();
    assert!(ends("idle", &mut idle) < Duration::from_secs(5));
    assert!(ends("streaming", &mut streaming) < Duration::from_secs(5));
    refused("once more", &daemon.client_with(&anna));
    bens.write_all(b"GET /_ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("ask on");
    let mut answer = String::new();
    bens.read_to_string(&mut answer).expect("the others are served on");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[test]
fn certificates_are_exchanged_without_a_restart() {
    let daemon = Alone::start("");
    let anna = daemon.authority.issue(&Shape::client(ANNA));
    admitted("before", &daemon.client_with(&anna));
    let next = Authority::new("next authority");
    // Half a change leaves everything as it was.
    std::fs::write(daemon.etc("tls/server.key"), "not a key").expect("write");
    daemon.look();
    std::thread::sleep(Duration::from_millis(300));
    admitted("with a broken key on the disk", &daemon.client_with(&anna));
    next.furnish(&daemon.etc(""));
    daemon.look();
    let after = next.issue(&Shape::client(ANNA));
    let client = Client::new(daemon.address(), &next, Some(&after));
    casemate_tests::wait_until("the new authority's client is admitted", || {
        client.try_request("GET", "/_ping", &[], b"").is_ok()
    });
    refused("the old authority's client", &Client::new(daemon.address(), &next, Some(&anna)));
}

#[test]
fn files_are_watched_without_a_signal() {
    let daemon = Alone::start("");
    let anna = daemon.authority.issue(&Shape::client(ANNA));
    admitted("before", &daemon.client_with(&anna));
    daemon.authority.revoke(&anna);
    std::fs::write(daemon.etc("tls/crl.pem"), daemon.authority.revocations()).expect("write");
    casemate_tests::wait_until("the revoked certificate is refused", || {
        daemon.client_with(&anna).try_request("GET", "/_ping", &[], b"").is_err()
    });
}

#[test]
fn the_slow_are_not_waited_for() {
    let config =
        "[limits]\nheader-time = \"1s\"\nidle-time = \"3s\"\nhandshake-time = \"1s\"\nbody-time = \"1s\"\n";
    let daemon = Alone::start(config);
    let anna = daemon.client("casemate://acme/anna?groups=admin");

    let mut silent = TcpStream::connect(daemon.address()).expect("connect");
    silent.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    let took = ends("no handshake", &mut silent);
    assert!(took < Duration::from_secs(8), "a handshake may take {took:?}");

    let mut drip = anna.connect().expect("connect");
    drip.write_all(b"GET /_ping HTTP/1.1\r\nX-Slow: ").expect("begin a head");
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(10)
        && drip.write_all(b"a").and_then(|()| drip.flush()).is_ok()
    {
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(begun.elapsed() < Duration::from_secs(8), "a head may drip for {:?}", begun.elapsed());

    let mut idle = anna.connect().expect("connect");
    idle.write_all(b"GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n").expect("ask");
    let took = ends("idle", &mut idle);
    assert!((2..20).contains(&took.as_secs()), "idle for {took:?}");

    let mut body = anna.connect().expect("connect");
    let head = "POST /containers/create HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{";
    body.write_all(head.as_bytes()).expect("begin a body");
    let mut answer = [0_u8; 12];
    body.read_exact(&mut answer).expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 400");
}

#[test]
fn places_are_counted() {
    let config =
        "[limits]\nconnections = 6\nconnections-per-client = 3\nrequests-per-client = 2\nhandshakes = 2\n";
    let daemon = Alone::start(config);
    let (anna, ben) = (daemon.client(ANNA), daemon.client("casemate://acme/ben?groups=viewer"));
    let open = |client: &Client| {
        let mut connection = client.connect().expect("connect");
        connection.write_all(b"GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n").expect("ask");
        let mut first = [0_u8; 12];
        connection.read_exact(&mut first).map(|()| connection)
    };
    let mut annas: Vec<_> = (0..3).map(|_| open(&anna).expect("a place")).collect();
    assert!(open(&anna).is_err(), "a fourth connection of one client");
    // Strangers who never finish their handshake keep nobody out.
    let strangers: Vec<_> = (0..20).map(|_| TcpStream::connect(daemon.address()).expect("connect")).collect();
    let bens: Vec<_> = (0..3).map(|_| open(&ben).expect("a place")).collect();
    assert!(open(&daemon.client("casemate://acme/cleo")).is_err(), "a seventh connection of all");
    drop(strangers);
    drop(bens);

    annas.truncate(1);
    let stream = |client: &Client| {
        let mut connection = client.connect().expect("connect");
        connection.write_all(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n").expect("ask");
        let mut first = [0_u8; 12];
        connection.read_exact(&mut first).expect("an answer");
        (String::from_utf8_lossy(&first).into_owned(), connection)
    };
    let mut begun = Vec::new();
    casemate_tests::wait_until("the places are given back", || {
        begun.clear();
        open(&anna).is_ok()
    });
    begun.extend((0..2).map(|_| stream(&anna)));
    assert!(begun.iter().all(|(status, _)| status == "HTTP/1.1 200"), "{begun:?}");
    let annas_own = annas.pop().expect("a connection");
    drop(annas_own);
    casemate_tests::wait_until("a third request of one client is refused", || {
        anna.try_request("GET", "/_ping", &[], b"").is_ok_and(|reply| reply.status == 429)
    });
}

#[test]
fn large_heads_are_refused() {
    let daemon = Alone::start("[limits]\nheader-bytes = \"16KiB\"\nheaders = 20\n");
    let anna = daemon.client(ANNA);
    let long = format!("X-Long: {}", "a".repeat(20_000));
    let reply = anna.try_request("GET", "/_ping", &[&long], b"");
    assert!(reply.as_ref().map_or(true, |reply| reply.status == 431), "{reply:?}");
    let many: Vec<String> = (0..30).map(|number| format!("X-{number}: a")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let reply = anna.try_request("GET", "/_ping", &many, b"");
    assert!(reply.as_ref().map_or(true, |reply| reply.status == 431), "{reply:?}");
    let path = format!("/_ping?{}", "a".repeat(20_000));
    let reply = anna.try_request("GET", &path, &[], b"");
    assert!(reply.as_ref().map_or(true, |reply| reply.status == 431 || reply.status == 414), "{reply:?}");
    admitted("an ordinary one", &anna);
}

#[test]
fn versions_and_paths_are_answered_as_dockers() {
    let daemon = Alone::start("");
    let anna = daemon.client(ANNA);
    let ping = anna.request("HEAD", "/_ping", None);
    assert_eq!((ping.status, ping.body.len()), (200, 0));
    for (name, value) in [
        ("Api-Version", "1.51"),
        ("Ostype", "linux"),
        ("Docker-Experimental", "false"),
        ("Swarm", "inactive"),
        ("Cache-Control", "no-cache, no-store, must-revalidate"),
    ] {
        assert_eq!(ping.header(name), Some(value), "{name}");
    }
    assert_eq!(anna.fetch("/v1.24/_ping").text(), "OK");
    let new = anna.fetch("/v1.99/_ping");
    assert_eq!(new.status, 400);
    let words = "client version 1.99 is too new. Maximum supported API version is 1.51";
    assert_eq!(new.json()["message"], words);
    assert_eq!(anna.fetch("/v1.23/_ping").status, 400);
    let unknown = anna.fetch("/v1.51/no/such/thing");
    assert_eq!((unknown.status, unknown.text()), (404, "{\"message\":\"page not found\"}\n".to_owned()));
    assert_eq!(unknown.header("Api-Version"), Some("1.51"));
    assert_eq!(anna.request("PUT", "/_ping", None).status, 404);
}
