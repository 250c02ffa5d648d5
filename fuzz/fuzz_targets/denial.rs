//! What the kernel tells of a refused packet, and the packet in it, which a container has sent: never a panic, nothing that
//! was not there, and one line whatever it is.
#![no_main]

use casemate_engine::networks::denied;
use libfuzzer_sys::fuzz_target;

/// A message of nfnetlink_log(7) around a packet.
fn logged(packet: &[u8]) -> Vec<u8> {
    let attribute = |kind: u16, value: &[u8]| {
        let length = u16::try_from(4 + value.len()).expect("it is cut");
        let mut bytes = [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), value].concat();
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    };
    let all = [attribute(4, &[0, 0, 0, 7]), attribute(10, b"casemate not-listed\0"), attribute(9, packet)];
    let body = [&[2, 0, 0, 0][..], &all.concat()].concat();
    let length = u32::try_from(16 + body.len()).expect("it is cut");
    [&length.to_ne_bytes()[..], &0x400_u16.to_ne_bytes(), &[0; 10], &body].concat()
}

fuzz_target!(|bytes: &[u8]| {
    assert!(denied(bytes).count() * 16 <= bytes.len());
    let packet = &bytes[..bytes.len().min(1500)];
    for told in denied(&logged(packet)) {
        let octets = |address: std::net::IpAddr| match address {
            std::net::IpAddr::V4(address) => address.octets().to_vec(),
            std::net::IpAddr::V6(address) => address.octets().to_vec(),
        };
        for address in [told.source, told.target.address] {
            let octets = octets(address);
            assert!(packet.windows(octets.len()).any(|window| window == octets));
        }
        assert!(told.target.to_string().bytes().all(|byte| byte.is_ascii_graphic()));
    }
});
