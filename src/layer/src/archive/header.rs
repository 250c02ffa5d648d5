//! The fixed fields of a header.

use std::io::ErrorKind;

use casemate_spec::{Error, Result};
use tar::Header;

use super::Kind;

/// What was read from a header block.
#[derive(Debug)]
pub struct Fields {
    pub kind: u8,
    pub path: Vec<u8>,
    pub link: Vec<u8>,
    pub size: u64,
    pub mode: u32,
    pub uid: u64,
    pub gid: u64,
    pub modified: i64,
}

impl Fields {
    /// Reads a block that is not all zeros.
    pub fn parse(header: &Header) -> Result<Self> {
        let old = header.as_old();
        check(header.as_bytes(), &old.cksum)?;
        Ok(Self {
            kind: old.linkflag.first().copied().unwrap_or_default(),
            path: header.path_bytes().into_owned(),
            link: header.link_name_bytes().map(|name| name.into_owned()).unwrap_or_default(),
            size: unsigned("size", &old.size)?,
            // Go keeps what lies above the permissions too; the kernel would refuse it.
            mode: u32::try_from(unsigned("mode", &old.mode)? & 0o7777).unwrap_or_default(),
            uid: unsigned("owner", &old.uid)?,
            gid: unsigned("group", &old.gid)?,
            modified: number(&old.mtime).ok_or_else(|| malformed("time"))?,
        })
    }
}

impl Kind {
    /// By the type byte; before POSIX a directory was a file whose name ends in a slash.
    pub(super) fn of(byte: u8, path: &[u8]) -> Self {
        match byte {
            0 if path.ends_with(b"/") => Self::Directory,
            0 | b'0' | b'7' | b'S' => Self::File,
            b'1' => Self::HardLink,
            b'2' => Self::Symlink,
            b'3' | b'4' => Self::Device,
            b'5' => Self::Directory,
            b'6' => Self::Fifo,
            other => Self::Other(other),
        }
    }
}

/// The sum over all bytes, those of the sum itself taken for spaces. Some old programs added signed bytes.
fn check(block: &[u8], field: &[u8]) -> Result<()> {
    let (mut plain, mut signed) = (0_i64, 0_i64);
    for (at, &byte) in block.iter().enumerate() {
        let byte = if (148..156).contains(&at) { b' ' } else { byte };
        plain += i64::from(byte);
        signed += i64::from(byte.cast_signed());
    }
    match number(field) {
        Some(sum) if sum == plain || sum == signed => Ok(()),
        _ => Err(Error::new("archive", "a header's checksum is wrong: corrupt, or no tar archive")),
    }
}

fn unsigned(what: &str, field: &[u8]) -> Result<u64> {
    number(field).and_then(|number| u64::try_from(number).ok()).ok_or_else(|| malformed(what))
}

fn malformed(what: &str) -> Error {
    Error::new("archive", format!("a header's {what} is no number"))
}

/// A number: octal digits, or GNU's form of 8 bits to the byte behind a set first bit. An empty field is 0.
pub fn number(field: &[u8]) -> Option<i64> {
    let (&first, rest) = field.split_first()?;
    if first & 0x80 != 0 {
        // Two's complement, sign in the second bit.
        let mut value = i128::from(first & 0x3f) - i128::from(first & 0x40);
        for &byte in rest {
            value = value.checked_mul(256)?.checked_add(i128::from(byte))?;
        }
        return i64::try_from(value).ok();
    }
    let text = field.split(|&byte| byte == 0).find(|part| !part.is_empty()).unwrap_or_default();
    let text = text.trim_ascii();
    if text.is_empty() {
        return Some(0);
    }
    text.iter().try_fold(0_i64, |value, &byte| match byte {
        b'0'..=b'7' => value.checked_mul(8)?.checked_add(i64::from(byte - b'0')),
        _ => None,
    })
}

/// What reading failed with, in words: an archive that ends too early says so.
pub fn failed(error: &std::io::Error) -> Error {
    match error.kind() {
        ErrorKind::UnexpectedEof => Error::new("archive", "it ends in the middle"),
        _ => Error::io("archive", error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_every_kind_of_tar() {
        assert_eq!(number(b"0000644\0"), Some(0o644));
        assert_eq!(number(b"  644 \0\0"), Some(0o644));
        assert_eq!(number(b"\0\0\0\0\0\0\0\0"), Some(0));
        assert_eq!(number(b"        "), Some(0));
        assert_eq!(number(&[0x80, 0, 0, 0, 0, 0, 1, 0]), Some(256));
        assert_eq!(number(&[0xff; 12]), Some(-1));
        assert_eq!(number(&[0x80, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), None);
        for bad in [&b"8"[..], b"-1", b"0x1", b"1 2", b""] {
            assert_eq!(number(bad), None, "{bad:?}");
        }
    }
}
