//! netlink(7), as it is read: messages and attributes, nothing of what they mean. What a container sends may be in them.

/// `nlmsghdr`
pub const HEADER: usize = 16;
/// The bits of an attribute's kind that are flags.
const KIND: u16 = 0x3fff;

/// A message that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message<'a> {
    /// What it is.
    pub kind: u16,
    /// Of the message that it answers.
    pub sequence: u32,
    /// The rest of it.
    pub body: &'a [u8],
}

/// Takes what was read apart; what is cut off or does not hold together ends it.
pub fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let length = usize::try_from(word(bytes, 0)?).ok()?;
        let message = bytes.get(..length)?;
        let found =
            Message { kind: half(message, 4)?, sequence: word(message, 8)?, body: message.get(HEADER..)? };
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(found)
    })
}

/// The attributes of a message behind its own header.
pub fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(half(bytes, 0)?);
        let found = (half(bytes, 2)? & KIND, bytes.get(4..length)?);
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(found)
    })
}

/// 32 bits as the machine has them.
pub fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..)?.get(..4)?.try_into().ok()?))
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..)?.get(..2)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever comes, reading it ends, and nothing is read that is not there.
        #[test]
        fn nothing_read_is_longer_than_what_came(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
            let mut read = 0;
            for message in messages(&bytes) {
                read += HEADER + message.body.len();
                let inner: usize = attributes(message.body).map(|(_, value)| 4 + value.len()).sum();
                prop_assert!(inner <= message.body.len());
            }
            prop_assert!(read <= bytes.len());
        }
    }
}
