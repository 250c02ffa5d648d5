//! Sparse files, in the four forms that GNU tar has written them: its own header, and PAX 0.0, 0.1 and 1.0.

use casemate_spec::{Error, Result};
use tar::{GnuExtSparseHeader, GnuSparseHeader};

use super::{header, pax};
use crate::limits;

/// A piece of a file that is in the archive; between the pieces the file has holes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Where in the file.
    pub offset: u64,
    /// How many bytes.
    pub length: u64,
}

/// What all PAX records about sparse files begin with.
pub const PREFIX: &[u8] = b"GNU.sparse.";

/// What PAX records say about a sparse file.
#[derive(Debug, Default)]
pub struct Records {
    /// The file's true name.
    pub name: Option<Vec<u8>>,
    /// Bytes of the file.
    pub size: Option<u64>,
    major: Option<u64>,
    offset: Option<u64>,
    map: Option<Vec<Extent>>,
}

/// Where a sparse file's map is.
pub enum Map {
    /// There is none: it is no sparse file.
    None,
    /// Here.
    Known(Vec<Extent>),
    /// In front of the content (PAX 1.0).
    Ahead,
}

impl Records {
    /// Takes one record.
    pub fn take(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        match key.strip_prefix(PREFIX).unwrap_or_default() {
            b"name" if value.is_empty() || value.contains(&0) => return Err(malformed("a bad name")),
            b"name" => self.name = Some(value.to_vec()),
            b"size" | b"realsize" => self.size = Some(pax::decimal(value)?),
            b"major" => self.major = Some(pax::decimal(value)?),
            b"offset" => self.offset = Some(pax::decimal(value)?),
            b"numbytes" => {
                let offset = self.offset.take().ok_or_else(|| malformed("a length without its offset"))?;
                let length = pax::decimal(value)?;
                push(self.map.get_or_insert_default(), Extent { offset, length })?;
            }
            b"map" => self.map = Some(list(value)?),
            _ => {}
        }
        Ok(())
    }

    /// Where the map is.
    pub fn map(&mut self) -> Result<Map> {
        match (self.major, self.map.take()) {
            (Some(1), None) => Ok(Map::Ahead),
            (None | Some(0), Some(map)) => Ok(Map::Known(map)),
            (None | Some(0), None) => Ok(Map::None),
            _ => Err(malformed("an unknown version")),
        }
    }
}

/// Offsets and lengths in turn, between commas (PAX 0.1).
fn list(value: &[u8]) -> Result<Vec<Extent>> {
    let mut map = Vec::new();
    let mut numbers = value.split(|&byte| byte == b',').filter(|text| !text.is_empty());
    while let Some(offset) = numbers.next() {
        let length = numbers.next().ok_or_else(|| malformed("an offset without its length"))?;
        push(&mut map, Extent { offset: pax::decimal(offset)?, length: pax::decimal(length)? })?;
    }
    Ok(map)
}

/// Adds what GNU's own header, or one of its continuations, lists.
pub fn take_headers(map: &mut Vec<Extent>, headers: &[GnuSparseHeader]) -> Result<()> {
    for header in headers {
        let number = |field: &[u8]| {
            header::number(field).and_then(|n| u64::try_from(n).ok()).ok_or_else(|| malformed("no number"))
        };
        // The first unused place ends the list.
        if header.offset.first() == Some(&0) || header.numbytes.first() == Some(&0) {
            break;
        }
        push(map, Extent { offset: number(&header.offset)?, length: number(&header.numbytes)? })?;
    }
    Ok(())
}

/// A continuation of GNU's own header: its list, and whether another follows.
pub fn take_continuation(map: &mut Vec<Extent>, block: &[u8]) -> Result<bool> {
    let mut header = GnuExtSparseHeader::new();
    header.as_mut_bytes().copy_from_slice(block);
    take_headers(map, header.sparse())?;
    Ok(header.is_extended())
}

/// The pieces must follow each other, lie within the file and make up what the archive holds of it.
pub fn check(map: &[Extent], stored: u64, size: u64) -> Result<()> {
    let (mut end, mut sum) = (0_u64, 0_u64);
    for extent in map {
        if extent.offset < end {
            return Err(malformed("pieces that overlap"));
        }
        end =
            extent.offset.checked_add(extent.length).ok_or_else(|| malformed("a piece beyond all bounds"))?;
        sum = sum.saturating_add(extent.length);
    }
    if end > size || sum != stored {
        return Err(malformed("pieces that do not fit the file"));
    }
    Ok(())
}

/// Adds one piece.
pub fn push(map: &mut Vec<Extent>, extent: Extent) -> Result<()> {
    if map.len() >= limits::EXTENTS {
        return Err(malformed("too many pieces"));
    }
    map.push(extent);
    Ok(())
}

pub fn malformed(why: &str) -> Error {
    Error::new("archive: sparse file", why)
}
