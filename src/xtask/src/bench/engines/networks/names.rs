//! Questions for names, in a container's network, at a steady pace.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use super::place::Space;
use crate::failure::{Doing as _, Failure, Outcome};

/// Where both engines have theirs.
const RESOLVER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);
pub const QUESTIONS: u16 = 10_000;
/// Between two: 5,000 in a second.
const PACE: Duration = Duration::from_micros(200);
/// What has not come by then is lost.
const PATIENCE: Duration = Duration::from_secs(1);

/// Milliseconds from question to answer: of half of them at most, and of 99 in a hundred. One that is never answered took
/// as long as it was waited for.
pub struct Answered {
    pub median: f64,
    pub slowest: f64,
}

/// Asks for the address of a name.
pub fn ask(space: &Space, name: &str) -> Outcome<Answered> {
    let socket = space.within(|| {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).doing("socket")?;
        socket.connect(SocketAddr::from((RESOLVER, 53))).doing(RESOLVER)?;
        socket.set_read_timeout(Some(PATIENCE)).doing("socket")?;
        Ok(socket)
    })?;
    let since = Instant::now();
    let (sent, heard) = std::thread::scope(|scope| {
        let listener = scope.spawn(|| hear(&socket, since));
        let sent = send(&socket, name, since);
        let heard = listener.join().unwrap_or_else(|_| Err(Failure::new("bench", "a thread panicked")));
        Ok::<_, Failure>((sent?, heard?))
    })?;
    let taken = |(sent, heard): (&Duration, &Option<Duration>)| {
        heard.map_or(PATIENCE, |heard| heard.saturating_sub(*sent)).as_secs_f64() * 1000.0
    };
    let mut taken: Vec<f64> = sent.iter().zip(&heard).map(taken).collect();
    taken.sort_by(f64::total_cmp);
    let at = |part: f64| taken[((taken.len() - 1) as f64 * part) as usize];
    Ok(Answered { median: at(0.5), slowest: at(0.99) })
}

/// Sends each when it is due, and says when that was.
fn send(socket: &UdpSocket, name: &str, since: Instant) -> Outcome<Vec<Duration>> {
    let mut sent = Vec::with_capacity(QUESTIONS.into());
    for number in 0..QUESTIONS {
        let due = PACE * u32::from(number);
        if let Some(early) = due.checked_sub(since.elapsed()) {
            std::thread::sleep(early);
        }
        sent.push(since.elapsed());
        socket.send(&question(number, name)).doing(RESOLVER)?;
    }
    Ok(sent)
}

/// When each was answered; nobody is heard of any more once it is quiet.
fn hear(socket: &UdpSocket, since: Instant) -> Outcome<Vec<Option<Duration>>> {
    let mut heard = vec![None; QUESTIONS.into()];
    let mut packet = [0; 512];
    for _ in 0..QUESTIONS {
        let Ok(read) = socket.recv(&mut packet) else { break };
        let now = since.elapsed();
        // An answer, no error, and at least one record: whatever else comes is no address.
        let [a, b, flags, code, _, _, c, d, ..] = packet[..read] else { continue };
        if flags & 0x80 == 0 || code & 0x0f != 0 || [c, d] == [0; 2] {
            return Err(Failure::new(RESOLVER, format!("it answers with code {}", code & 0x0f)));
        }
        if let Some(place) = heard.get_mut(usize::from(u16::from_be_bytes([a, b]))) {
            *place = Some(now);
        }
    }
    Ok(heard)
}

/// For its IPv4 address (RFC 1035).
fn question(number: u16, name: &str) -> Vec<u8> {
    let mut packet = number.to_be_bytes().to_vec();
    packet.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        packet.push(label.len() as u8);
        packet.extend_from_slice(label.as_bytes());
    }
    packet.extend([0, 0, 1, 0, 1]);
    packet
}
