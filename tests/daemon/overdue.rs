//! Revocation lists whose time is over.

use std::io::Read;
use std::time::{Duration, SystemTime};

use casemate_tests::wait_until;

use crate::harness::{libexec, write_whole};
use crate::{Alone, Authority, Client, Shape, World};

const ANNA: &str = "casemate://acme/anna?groups=admin";
/// 2025-01-01, in seconds since 1970.
const THEN: Duration = Duration::from_secs(1_735_689_600);

fn is_admitted(client: &Client) -> bool {
    client.try_request("GET", "/_ping", &[], b"").is_ok_and(|reply| reply.status == 200)
}

#[test]
fn nobody_is_believed_once_the_list_has_ended() {
    let daemon = Alone::start("");
    let client = daemon.client_with(&daemon.authority.issue(&Shape::client(ANNA)));
    let mut idle = client.connect().expect("connect");
    let soon = SystemTime::now() + Duration::from_secs(4);
    let end = soon.duration_since(SystemTime::UNIX_EPOCH).expect("a time") - THEN;
    write_whole(&daemon.etc("tls/crl.pem"), &daemon.authority.revocations_for(end));
    daemon.look();
    wait_until("the end is warned of", || daemon.log().contains("WARNING: the revocation list ends at 2"));
    assert!(is_admitted(&client), "until then it holds");
    wait_until("new connections are refused", || !is_admitted(&client));
    assert!(SystemTime::now() >= soon - Duration::from_secs(1), "not before its end");
    let mut rest = Vec::new();
    // Closed or broken off; a timeout of ours would be neither.
    if let Err(error) = idle.read_to_end(&mut rest) {
        assert!(error.kind() != std::io::ErrorKind::WouldBlock, "the connection from before is open still");
    }
    wait_until("it is told", || daemon.log().contains("no client is believed until there is a new one"));
    daemon.publish_revocations();
    wait_until("with a new list all is well", || is_admitted(&client));
}

#[test]
fn an_operator_may_choose_to_be_warned_alone() {
    let daemon = Alone::start("[tls]\noverdue-revocation-list = \"warn\"\n");
    let [anna, ben] =
        [ANNA, "casemate://acme/ben?groups=admin"].map(|uri| daemon.authority.issue(&Shape::client(uri)));
    daemon.authority.revoke(&ben);
    write_whole(&daemon.etc("tls/crl.pem"), &daemon.authority.revocations_for(Duration::from_secs(60)));
    daemon.look();
    wait_until("it is told", || {
        daemon.log().contains("ended at 2025-01-01T00:01:00Z: it is believed all the same")
    });
    assert!(is_admitted(&daemon.client_with(&anna)));
    assert!(!is_admitted(&daemon.client_with(&ben)), "what it revokes stays revoked");
}

#[test]
fn the_doctor_warns_before_a_list_ends() {
    let world = World::configured("");
    let root = world.dir().join("other");
    let root = root.to_string_lossy();
    let casemate = |words: &[&str]| {
        let program = libexec().join("casemate");
        world.outside(&program.to_string_lossy()).args(["--data-root", &root]).args(words).run()
    };
    let libexec = libexec();
    let doctor = || casemate(&["doctor", "--libexec", &libexec.to_string_lossy()]).stdout();
    let line = |said: &str| {
        let line = said.lines().find(|line| line.contains("revocation list"));
        line.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).unwrap_or_default()
    };
    assert_eq!(line(&doctor()), "", "there is no list yet");
    casemate(&["pki", "init"]).ok();
    assert!(line(&doctor()).starts_with("ok revocation list until 20"), "{}", doctor());
    let authority = Authority::new("any");
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a time") - THEN;
    for (time, begin) in [
        (now + Duration::from_secs(24 * 3600), "weaker revocation list ends 20"),
        (now - Duration::from_secs(60), "MISSING revocation list ended 20"),
    ] {
        write_whole(&world.dir().join("other/etc/tls/crl.pem"), &authority.revocations_for(time));
        let said = doctor();
        assert!(line(&said).starts_with(begin) && said.contains("remedy: casemate pki renew"), "{said}");
    }
    casemate(&["pki", "renew"]).ok();
    assert!(line(&doctor()).starts_with("ok revocation list until 20"), "{}", doctor());
    // Its place for what lives as long as the host runs.
    let script = "rmdir /run/casemate/$(realpath -z \"$1\" | tr -d '\\0' | sha256sum | cut -c1-16)";
    world.outside("sh").args(["-c", script, "sh", &root]).run().ok();
    world.stop();
}
