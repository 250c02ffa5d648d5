//! Netlink messages as bytes (netlink(7)): a header, a fixed part, attributes.

/// Bytes of `struct nlmsghdr`.
pub(super) const HEADER: usize = 16;

/// A message under construction.
#[derive(Debug)]
pub(super) struct Message(Vec<u8>);

impl Message {
    /// A message of this type and these `NLM_F_*` flags, with its family's fixed part.
    pub(super) fn new(kind: u16, flags: u16, fixed: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(128);
        // The length is filled in at the end.
        bytes.extend(0_u32.to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        // Sequence number and port: one question at a time, answered to the one who asked.
        bytes.extend(1_u32.to_ne_bytes());
        bytes.extend(0_u32.to_ne_bytes());
        bytes.extend(fixed);
        Self(bytes)
    }

    /// Adds an attribute, padded to four bytes.
    pub(super) fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    /// The bytes to send.
    pub(super) fn finish(mut self) -> Vec<u8> {
        let length = u32::try_from(self.0.len()).unwrap_or(0).to_ne_bytes();
        for (to, from) in self.0.iter_mut().zip(length) {
            *to = from;
        }
        self.0
    }
}

/// A received message: its type and what follows the header.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part<'b> {
    pub(super) kind: u16,
    pub(super) body: &'b [u8],
}

/// Takes the first message off `bytes`.
pub(super) fn split(bytes: &[u8]) -> Option<(Part<'_>, &[u8])> {
    let length = usize::try_from(u32_at(bytes, 0)?).ok()?;
    let kind = u16_at(bytes, 4)?;
    let body = bytes.get(HEADER..length)?;
    let rest = bytes.get(length.next_multiple_of(4).min(bytes.len())..)?;
    Some((Part { kind, body }, rest))
}

/// The attributes after a fixed part of `skip` bytes.
pub(super) fn attributes(body: &[u8], skip: usize) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = body.get(skip..).unwrap_or_default();
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(rest, 0)?);
        let kind = u16_at(rest, 2)?;
        let value = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4).min(rest.len())..)?;
        Some((kind, value))
    })
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_their_own_reader() {
        let bytes =
            Message::new(7, 1, &[9; 8]).attribute(3, b"eth0\0").attribute(28, &5_u32.to_ne_bytes()).finish();
        let (part, rest) = split(&bytes).expect("whole");
        assert!(rest.is_empty());
        assert_eq!(part.kind, 7);
        let found: Vec<_> = attributes(part.body, 8).collect();
        assert_eq!(found, [(3, b"eth0\0".as_slice()), (28, 5_u32.to_ne_bytes().as_slice())]);
    }

    #[test]
    fn cut_messages_are_no_messages() {
        let bytes = Message::new(7, 1, &[9; 8]).attribute(3, b"eth0\0").finish();
        for length in 0..bytes.len() {
            assert!(split(&bytes[..length]).is_none(), "{length}");
        }
        assert_eq!(attributes(&[255, 255, 1, 0], 0).count(), 0);
        assert_eq!(attributes(&[0, 0, 0, 0], 0).count(), 0);
    }
}
