//! Ranges of addresses: `10.0.0.0/8`, `fd00::/64`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Failure;

/// A range: an address of which the bits behind the prefix are zero, and the prefix's length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Range {
    first: IpAddr,
    prefix: u8,
}

/// Which family, and the bits as a number.
fn number(address: IpAddr) -> (bool, u128) {
    match address {
        IpAddr::V4(address) => (true, u128::from(u32::from(address))),
        IpAddr::V6(address) => (false, u128::from(address)),
    }
}

fn address(four: bool, number: u128) -> IpAddr {
    match u32::try_from(number) {
        Ok(number) if four => IpAddr::V4(Ipv4Addr::from(number)),
        _ => IpAddr::V6(Ipv6Addr::from(number)),
    }
}

impl Range {
    /// The range of this prefix in which an address lies; nothing where the prefix is longer than addresses are.
    pub fn around(inside: IpAddr, prefix: u8) -> Option<Self> {
        let (four, bits) = number(inside);
        let width = if four { 32 } else { 128 };
        let behind = width - u32::from(prefix).min(width);
        let kept = bits.checked_shr(behind).unwrap_or(0).checked_shl(behind).unwrap_or(0);
        (u32::from(prefix) <= width).then(|| Self { first: address(four, kept), prefix })
    }

    /// Its first address.
    pub fn first(&self) -> IpAddr {
        self.first
    }

    /// The bits that all have in common.
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// Whether it is of IPv4.
    pub fn is_ipv4(&self) -> bool {
        self.first.is_ipv4()
    }

    /// Its last address.
    pub fn last(&self) -> IpAddr {
        let (four, first) = number(self.first);
        address(four, first | self.offsets())
    }

    /// The greatest offset of an address in it.
    pub fn offsets(&self) -> u128 {
        let width: u32 = if self.is_ipv4() { 32 } else { 128 };
        let behind = width - u32::from(self.prefix);
        1_u128.checked_shl(behind).map_or(u128::MAX, |size| size - 1)
    }

    /// The address at an offset, if it lies within.
    pub fn at(&self, offset: u128) -> Option<IpAddr> {
        let (four, first) = number(self.first);
        (offset <= self.offsets()).then(|| address(four, first | offset))
    }

    /// Where an address is in it, if it is.
    pub fn offset(&self, of: IpAddr) -> Option<u128> {
        let ((four, first), (other, bits)) = (number(self.first), number(of));
        let offset = bits.checked_sub(first)?;
        (four == other && offset <= self.offsets()).then_some(offset)
    }

    /// Whether an address lies in it.
    pub fn contains(&self, inside: IpAddr) -> bool {
        self.offset(inside).is_some()
    }

    /// Whether the whole of another lies in it.
    pub fn covers(&self, other: &Self) -> bool {
        self.prefix <= other.prefix && self.contains(other.first)
    }

    /// Whether they have an address in common.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.covers(other) || other.covers(self)
    }

    /// Whether an address may be given to somebody: the first and the last of IPv4 mean the range and everybody in it.
    pub fn is_host(&self, inside: IpAddr) -> bool {
        let whole = self.is_ipv4() && self.prefix < 31;
        let first = self.prefix < if self.is_ipv4() { 31 } else { 127 };
        self.contains(inside) && !(first && inside == self.first) && !(whole && inside == self.last())
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix)
    }
}

/// An address of a range with the range's prefix, `10.0.0.5/8`; alone it is a range of itself.
pub fn within(text: &str) -> Option<(IpAddr, Range)> {
    let (inside, prefix) = match text.split_once('/') {
        Some((inside, prefix)) => (inside.parse::<IpAddr>().ok()?, prefix.parse().ok()?),
        None => {
            let inside = text.parse::<IpAddr>().ok()?;
            (inside, if inside.is_ipv4() { 32 } else { 128 })
        }
    };
    Some((inside, Range::around(inside, prefix)?))
}

impl FromStr for Range {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        let refuse = || Failure::invalid(format!("invalid CIDR address: {text}"));
        let (inside, range) = text.contains('/').then(|| within(text)).flatten().ok_or_else(refuse)?;
        if inside == range.first {
            return Ok(range);
        }
        Err(Failure::invalid(format!("invalid subnet {text}: it should be {range}")))
    }
}

impl TryFrom<String> for Range {
    type Error = Failure;

    fn try_from(text: String) -> Result<Self, Failure> {
        text.parse()
    }
}

impl From<Range> for String {
    fn from(range: Range) -> Self {
        range.to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn range(text: &str) -> Range {
        text.parse().expect(text)
    }

    #[test]
    fn ranges_are_read() {
        assert_eq!(range("10.0.0.0/8").last(), "10.255.255.255".parse::<IpAddr>().expect("an address"));
        assert_eq!(range("0.0.0.0/0").offsets(), u128::from(u32::MAX));
        assert_eq!(range("::/0").offsets(), u128::MAX);
        assert_eq!(range("fd00::/64").at(5), "fd00::5".parse().ok());
        for bad in ["", "10.0.0.0", "10.0.0.0/33", "10.0.0.0/", "fd00::/129", "a/8", "10.0.0.0/-1"] {
            assert_eq!(bad.parse::<Range>().expect_err(bad).message, format!("invalid CIDR address: {bad}"));
        }
        let failure = "10.0.0.1/16".parse::<Range>().expect_err("bits behind the prefix");
        assert_eq!(failure.message, "invalid subnet 10.0.0.1/16: it should be 10.0.0.0/16");
    }

    #[test]
    fn hosts_are_neither_first_nor_last() {
        let is = |text: &str, inside: &str| range(text).is_host(inside.parse().expect("an address"));
        assert!(is("10.0.0.0/30", "10.0.0.1") && is("10.0.0.0/30", "10.0.0.2"));
        assert!(!is("10.0.0.0/30", "10.0.0.0") && !is("10.0.0.0/30", "10.0.0.3"));
        assert!(is("10.0.0.0/31", "10.0.0.0") && is("10.0.0.0/31", "10.0.0.1"));
        assert!(!is("fd00::/64", "fd00::") && is("fd00::/64", "fd00::ffff:ffff:ffff:ffff"));
        assert!(!is("10.0.0.0/24", "10.0.1.1") && !is("10.0.0.0/24", "fd00::1"));
    }

    proptest! {
        #[test]
        fn an_address_lies_where_its_offset_says(bits in any::<u128>(), prefix in 0_u8..=128, four in any::<bool>()) {
            let inside = if four { address(true, bits & u128::from(u32::MAX)) } else { address(false, bits) };
            let prefix = if four { prefix % 33 } else { prefix };
            let range = Range::around(inside, prefix).expect("a prefix that fits");
            let offset = range.offset(inside).expect("it is inside");
            prop_assert_eq!(range.at(offset), Some(inside));
            prop_assert!(range.contains(range.first()) && range.contains(range.last()));
            prop_assert_eq!(range.to_string().parse::<Range>().expect("what it shows"), range);
            let alone = Range::around(inside, if four { 32 } else { 128 }).expect("one address");
            prop_assert!(range.overlaps(&alone));
        }
    }
}
