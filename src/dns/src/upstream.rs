//! Asking other servers.
//!
//! Every question has a socket of its own, connected, on a port that the kernel picks, and a random number: an answer that
//! was not asked for meets no open socket, or not this number.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::{Error, ErrorKind, Result};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use hickory_proto::op::{Header, MessageType, OpCode, ResponseCode};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};
use rustix::rand::{GetRandomFlags, getrandom};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, timeout};

use crate::question::HEADER;

/// How long one server has.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long one that did not answer is asked last.
const DISTRUST: Duration = Duration::from_secs(30);
/// The fewest attempts: a packet may be lost.
const ATTEMPTS: usize = 2;
/// The most servers that are asked: Docker's, and resolv.conf(5)'s.
const SERVERS: usize = 3;
/// What an IPv6 path carries whole, and more than we ask for; longer answers are cut off and fail to parse.
const DATAGRAM: usize = 4096;

/// Which servers have not answered lately.
#[derive(Debug, Default)]
pub struct Health(RefCell<HashMap<SocketAddr, Instant>>);

impl Health {
    /// The servers, those that answer first.
    fn order(&self, servers: &[SocketAddr]) -> Vec<SocketAddr> {
        let now = Instant::now();
        let mut silent = self.0.borrow_mut();
        silent.retain(|_, until| *until > now);
        let mut order = servers.to_vec();
        order.truncate(SERVERS);
        order.sort_by_key(|server| silent.contains_key(server));
        order
    }

    fn silent(&self, server: SocketAddr) {
        self.0.borrow_mut().insert(server, Instant::now() + DISTRUST);
    }
}

/// Asks one server after another. The answer is whole, has the number zero, and is to this question. None is: none of
/// them answered.
pub async fn ask(question: &[u8], servers: &[SocketAddr], health: &Health) -> Option<Vec<u8>> {
    let order = health.order(servers);
    let mut last = None;
    for server in order.iter().cycle().take(order.len().max(ATTEMPTS)) {
        match timeout(PATIENCE, exchange(question, *server)).await {
            Ok(Ok((answer, code))) => match code {
                // It cannot, or will not; another one may.
                ResponseCode::ServFail | ResponseCode::Refused | ResponseCode::NotImp => last = Some(answer),
                _ => return Some(answer),
            },
            Ok(Err(_)) | Err(_) => health.silent(*server),
        }
    }
    last
}

async fn exchange(question: &[u8], server: SocketAddr) -> Result<(Vec<u8>, ResponseCode)> {
    let (answer, header) = by_datagram(question, server).await?;
    if !header.truncation {
        return Ok((answer, header.response_code));
    }
    // What there is, is better than nothing: its reader sees that it is not all.
    match by_stream(question, server).await {
        Ok((whole, header)) => Ok((whole, header.response_code)),
        Err(_) => Ok((answer, header.response_code)),
    }
}

async fn by_datagram(question: &[u8], server: SocketAddr) -> Result<(Vec<u8>, Header)> {
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    let (asked, number) = numbered(question)?;
    socket.send(&asked).await?;
    let mut buffer = vec![0; DATAGRAM];
    loop {
        let length = socket.recv(&mut buffer).await?;
        if let Some(found) = buffer.get(..length).and_then(|packet| matching(packet, question, number)) {
            return Ok(found);
        }
    }
}

async fn by_stream(question: &[u8], server: SocketAddr) -> Result<(Vec<u8>, Header)> {
    let mut stream = TcpStream::connect(server).await?;
    let (asked, number) = numbered(question)?;
    let length = u16::try_from(asked.len()).map_err(|_| Error::from(ErrorKind::InvalidInput))?;
    stream.write_all(&[&length.to_be_bytes()[..], &asked].concat()).await?;
    let length = stream.read_u16().await?;
    let mut packet = Vec::new();
    // It grows with what comes, not with what is announced.
    (&mut stream).take(u64::from(length)).read_to_end(&mut packet).await?;
    if packet.len() != usize::from(length) {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    matching(&packet, question, number).ok_or_else(|| ErrorKind::InvalidData.into())
}

/// The question with a number that nobody can foresee.
fn numbered(question: &[u8]) -> Result<(Vec<u8>, u16)> {
    let mut random = [0; 2];
    getrandom(&mut random[..], GetRandomFlags::empty())?;
    let mut asked = question.to_vec();
    asked.get_mut(..2).ok_or(ErrorKind::InvalidInput)?.copy_from_slice(&random);
    Ok((asked, u16::from_be_bytes(random)))
}

/// The answer, with the number zero and the question as it was asked, if it is one to it.
pub fn matching(packet: &[u8], question: &[u8], number: u16) -> Option<(Vec<u8>, Header)> {
    let header = Header::read(&mut BinDecoder::new(packet)).ok()?;
    let ours = header.id == number
        && header.message_type == MessageType::Response
        && header.op_code == OpCode::Query
        && header.counts.queries == 1;
    let end = section(question)?;
    let (asked, answered) = (question.get(HEADER..end)?, packet.get(HEADER..end)?);
    // Letters may come back in another case; type and class, the last four bytes, may not.
    let (name, kind) = asked.split_at_checked(asked.len().checked_sub(4)?)?;
    let (same, alike) = answered.split_at_checked(name.len())?;
    if !ours || !name.eq_ignore_ascii_case(same) || kind != alike {
        return None;
    }
    let mut answer = packet.to_vec();
    answer.get_mut(..2)?.fill(0);
    answer.get_mut(HEADER..end)?.copy_from_slice(asked);
    Some((answer, header))
}

/// Where the one query of a packet that we made ends: its name is not compressed.
fn section(question: &[u8]) -> Option<usize> {
    let mut at = HEADER;
    loop {
        let length = usize::from(*question.get(at)?);
        at += 1 + length;
        if length == 0 {
            return Some(at + 4);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `a.b`, type A, class IN.
    const QUESTION: &[u8] = b"\0\0\x01\0\0\x01\0\0\0\0\0\0\x01a\x01b\0\0\x01\0\x01";

    fn answer(change: impl Fn(&mut Vec<u8>)) -> Option<(Vec<u8>, Header)> {
        let mut packet = QUESTION.to_vec();
        packet[..4].copy_from_slice(&[0x12, 0x34, 0x81, 0x80]);
        change(&mut packet);
        matching(&packet, QUESTION, 0x1234)
    }

    #[test]
    fn only_the_answer_to_the_question_is_taken() {
        assert!(answer(|_| ()).is_some());
        let (kept, _) = answer(|packet| packet[13] = b'A').expect("letters in another case");
        assert_eq!((&kept[..2], kept[13]), (&[0, 0][..], b'a'));
        let wrong: [fn(&mut Vec<u8>); 9] = [
            |packet| packet[1] ^= 1,
            |packet| packet[2] = 1,
            |packet| packet[2] = 0x89,
            |packet| packet[5] = 0,
            |packet| packet[5] = 2,
            |packet| packet[13] = b'c',
            |packet| packet[18] = 28,
            |packet| packet[20] = 3,
            |packet| packet.truncate(20),
        ];
        for (index, change) in wrong.into_iter().enumerate() {
            assert!(answer(change).is_none(), "change {index}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_server_is_asked_last_for_a_while() {
        let servers: Vec<SocketAddr> =
            ["192.0.2.1:53", "192.0.2.2:53"].iter().map(|text| text.parse().expect("an address")).collect();
        let health = Health::default();
        health.silent(servers[0]);
        assert_eq!(health.order(&servers), [servers[1], servers[0]]);
        tokio::time::advance(DISTRUST * 2).await;
        assert_eq!(health.order(&servers), servers);
    }
}
