//! What rules are made of: each expression loads a register, compares one, or decides.
//!
//! Registers are counted in 32 bits each: 0 to 15. A key of several fields lies in as many registers as it needs, one
//! field after the other.

use crate::netlink::Writer;

/// `NFT_REG32_00`
const REGISTERS: u32 = 8;
/// `NFTA_LIST_ELEM`
pub const ELEMENT: u16 = 1;
/// `NFTA_DATA_VALUE`
pub const VALUE: u16 = 1;

/// An expression as the kernel wants it.
#[derive(Debug, Clone)]
pub struct Expression(Writer);

/// Which part of a packet.
#[derive(Debug, Clone, Copy)]
pub enum Part {
    /// Ethernet's header.
    Link = 0,
    /// IP's, or ARP's.
    Network = 1,
    /// TCP's, UDP's, ICMP's.
    Transport = 2,
}

/// `NFT_META_*`
#[derive(Debug, Clone, Copy)]
pub enum Meta {
    /// The interface by which it came: 16 bytes.
    InName = 6,
    /// The interface by which it goes: 16 bytes.
    OutName = 7,
    /// IPv4 or IPv6: 1 byte.
    Family = 15,
    /// TCP, UDP, ICMP: 1 byte.
    Protocol = 16,
}

/// What becomes of a packet.
#[derive(Debug, Clone, Copy)]
pub enum Verdict {
    /// This chain has nothing against it.
    Accept,
    /// It is gone.
    Drop,
    /// Another chain decides.
    Goto(&'static str),
    /// Another chain is asked first.
    Jump(&'static str),
}

fn expression(name: &str, data: impl FnOnce(&mut Writer)) -> Expression {
    let mut writer = Writer::default();
    writer.nest(ELEMENT, |element| {
        element.text(1, name);
        element.nest(2, data);
    });
    Expression(writer)
}

impl Expression {
    /// Its bytes.
    pub fn bytes(self) -> Vec<u8> {
        self.0.bytes()
    }
}

/// Loads what the kernel knows of a packet.
pub fn meta(key: Meta, to: u32) -> Expression {
    expression("meta", |data| {
        data.network(1, REGISTERS + to);
        data.network(2, key as u32);
    })
}

/// Loads bytes of a packet; a packet that has not so many matches nothing.
pub fn payload(part: Part, offset: u32, length: u32, to: u32) -> Expression {
    expression("payload", |data| {
        data.network(1, REGISTERS + to);
        data.network(2, part as u32);
        data.network(3, offset);
        data.network(4, length);
    })
}

/// Goes on where a register holds these bytes, or begins with them.
pub fn is(register: u32, bytes: &[u8]) -> Expression {
    compare(register, 0, bytes)
}

/// Goes on where it does not.
pub fn is_not(register: u32, bytes: &[u8]) -> Expression {
    compare(register, 1, bytes)
}

/// Goes on where it holds a number not below this one.
pub fn at_least(register: u32, bytes: &[u8]) -> Expression {
    compare(register, 5, bytes)
}

/// Goes on where it holds a number not above this one.
pub fn at_most(register: u32, bytes: &[u8]) -> Expression {
    compare(register, 3, bytes)
}

fn compare(register: u32, operation: u32, bytes: &[u8]) -> Expression {
    expression("cmp", |data| {
        data.network(1, REGISTERS + register);
        data.network(2, operation);
        data.nest(3, |value| value.attribute(VALUE, bytes));
    })
}

/// Leaves of a register only these bits.
pub fn mask(register: u32, bits: &[u8]) -> Expression {
    expression("bitwise", |data| {
        data.network(1, REGISTERS + register);
        data.network(2, REGISTERS + register);
        data.network(3, u32::try_from(bits.len()).unwrap_or(0));
        data.nest(4, |value| value.attribute(VALUE, bits));
        data.nest(5, |value| value.attribute(VALUE, &vec![0; bits.len()]));
    })
}

/// Puts bytes into a register.
pub fn load(register: u32, bytes: &[u8]) -> Expression {
    expression("immediate", |data| {
        data.network(1, REGISTERS + register);
        data.nest(2, |value| value.attribute(VALUE, bytes));
    })
}

/// Goes on where the key that begins at a register is in a set.
pub fn within(set: &str, key: u32) -> Expression {
    lookup(set, key, None, false)
}

/// Goes on where it is not.
pub fn not_within(set: &str, key: u32) -> Expression {
    lookup(set, key, None, true)
}

/// Goes on where it is in a map, with what stands there.
pub fn find(map: &str, key: u32, to: u32) -> Expression {
    lookup(map, key, Some(to), false)
}

fn lookup(set: &str, key: u32, to: Option<u32>, invert: bool) -> Expression {
    expression("lookup", |data| {
        data.text(1, set);
        data.network(2, REGISTERS + key);
        if let Some(to) = to {
            data.network(3, REGISTERS + to);
        }
        if invert {
            data.network(5, 1);
        }
    })
}

/// Loads the state of a packet's connection: [`KNOWN`], [`INVALID`].
pub fn connection_state(to: u32) -> Expression {
    connection(0, to)
}

/// Loads what was done to its addresses: [`TRANSLATED`].
pub fn connection_status(to: u32) -> Expression {
    connection(2, to)
}

/// Answers to what was admitted, and what belongs to it.
pub const KNOWN: u32 = 2 | 4;
/// Part of no connection that there could be.
pub const INVALID: u32 = 1;
/// `IPS_DST_NAT`: it was sent to another address, and a published port.
pub const TRANSLATED: u32 = 1 << 5;

fn connection(key: u32, to: u32) -> Expression {
    expression("ct", |data| {
        data.network(1, REGISTERS + to);
        data.network(2, key);
    })
}

/// Loads the kind of the address that a packet goes to: [`LOCAL`].
pub fn destination_kind(to: u32) -> Expression {
    expression("fib", |data| {
        data.network(1, REGISTERS + to);
        // NFT_FIB_RESULT_ADDRTYPE of the destination
        data.network(2, 3);
        data.network(3, 2);
    })
}

/// `RTN_LOCAL`: this host.
pub const LOCAL: u32 = 2;

/// Sends it to the address and port in these registers instead.
pub fn redirect(family: u8, address: u32, port: u32) -> Expression {
    expression("nat", |data| {
        // NFT_NAT_DNAT
        data.network(1, 1);
        data.network(2, family.into());
        data.network(3, REGISTERS + address);
        data.network(5, REGISTERS + port);
    })
}

/// Has it come from the interface by which it goes.
pub fn masquerade() -> Expression {
    expression("masq", |_| {})
}

/// Tells whoever listens to a group of nfnetlink_log(7) of it: its headers, and a word.
pub fn log(group: u16, prefix: &str) -> Expression {
    expression("log", |data| {
        data.attribute(1, &group.to_be_bytes());
        data.text(2, prefix);
        data.network(3, 96);
    })
}

/// Goes on not more often than this in a second, for each key that begins at a register. The set keeps a key for so long
/// after its last packet.
pub fn pace(set: &str, key: u32, (rate, burst): (u64, u32), milliseconds: u64) -> Expression {
    expression("dynset", |data| {
        data.text(1, set);
        // NFT_DYNSET_OP_UPDATE
        data.network(3, 1);
        data.network(4, REGISTERS + key);
        data.attribute(6, &milliseconds.to_be_bytes());
        data.nest(7, |limit| {
            limit.text(1, "limit");
            limit.nest(2, |data| {
                data.attribute(1, &rate.to_be_bytes());
                data.attribute(2, &1_u64.to_be_bytes());
                data.network(3, burst);
            });
        });
    })
}

/// Refuses it with a word to the sender: ICMP's "administratively prohibited".
pub fn reject() -> Expression {
    expression("reject", |data| {
        data.network(1, 2);
        data.attribute(2, &[3]);
    })
}

/// Decides.
pub fn verdict(verdict: Verdict) -> Expression {
    let (code, chain) = match verdict {
        Verdict::Drop => (0_i32, None),
        Verdict::Accept => (1, None),
        Verdict::Jump(chain) => (-3, Some(chain)),
        Verdict::Goto(chain) => (-4, Some(chain)),
    };
    expression("immediate", |data| {
        // NFT_REG_VERDICT
        data.network(1, 0);
        data.nest(2, |value| {
            value.nest(2, |verdict| {
                verdict.attribute(1, &code.to_be_bytes());
                if let Some(chain) = chain {
                    verdict.text(2, chain);
                }
            });
        });
    })
}
