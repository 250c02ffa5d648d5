//! The reader: headers in their order, each entry with its content.

use std::io::BufRead;

use casemate_spec::{Error, Result};
use tar::Header;

use super::header::{Fields, failed};
use super::pax::Pax;
use super::sparse::{self, Extent, Map};
use super::{BLOCK, Entry, Kind};
use crate::limits;

/// Reads an archive from front to back; nothing of it is kept but the entry at hand.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    /// Bytes of the present entry's content that were not read.
    content: u64,
    /// Bytes behind it up to the next header.
    padding: u64,
    entries: u64,
}

/// Extended headers that came before an entry.
#[derive(Default)]
struct Before {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    pax: Option<Pax>,
}

impl<R: BufRead> Reader<R> {
    /// Of an uncompressed stream.
    pub fn new(input: R) -> Self {
        Self { input, content: 0, padding: 0, entries: 0 }
    }

    /// The next entry; none when the archive ends, by two blocks of zeros or by the stream's end.
    ///
    /// # Errors
    /// It is malformed, too long, cut off, or cannot be read.
    pub fn entry(&mut self) -> Result<Option<Entry>> {
        let mut before = Before::default();
        loop {
            self.skip(self.content.saturating_add(self.padding))?;
            (self.content, self.padding) = (0, 0);
            let Some(header) = self.header()? else {
                return match before {
                    Before { path: None, link: None, pax: None } => Ok(None),
                    _ => Err(Error::new("archive", "it ends after an extended header")),
                };
            };
            let fields = Fields::parse(&header)?;
            self.entries += 1;
            if self.entries > limits::ENTRIES {
                return Err(Error::new("archive", format!("it has more than {} entries", limits::ENTRIES)));
            }
            match fields.kind {
                b'L' => before.path = Some(text(self.extension(&fields)?)),
                b'K' => before.link = Some(text(self.extension(&fields)?)),
                b'x' => before.pax = Some(Pax::parse(&self.extension(&fields)?)?),
                // About all entries to come; nobody who unpacks images heeds it.
                b'g' => drop(self.extension(&fields)?),
                _ => return self.member(&header, fields, before).map(Some),
            }
        }
    }

    /// Hands the present entry's content to `sink`, piece by piece with its place in the file.
    ///
    /// # Errors
    /// The archive ends too early, or the sink's.
    pub fn content(&mut self, entry: &Entry, mut sink: impl FnMut(u64, &[u8]) -> Result<()>) -> Result<()> {
        let whole = [Extent { offset: 0, length: self.content }];
        for extent in entry.extents.as_deref().unwrap_or(&whole) {
            let end = extent.offset.saturating_add(extent.length);
            let mut offset = extent.offset;
            while offset < end {
                let taken = {
                    let piece = self.piece(end - offset)?;
                    sink(offset, piece)?;
                    piece.len()
                };
                self.input.consume(taken);
                let taken = u64::try_from(taken).unwrap_or(u64::MAX);
                offset = offset.saturating_add(taken);
                self.content = self.content.saturating_sub(taken);
            }
        }
        Ok(())
    }

    /// Reads on to the very end of the stream, whatever is there, and gives it back.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn finish(mut self) -> Result<R> {
        loop {
            let length = self.input.fill_buf().map_err(|error| failed(&error))?.len();
            if length == 0 {
                return Ok(self.input);
            }
            self.input.consume(length);
        }
    }

    /// The entry that a header and the extended ones before it make.
    fn member(&mut self, header: &Header, fields: Fields, before: Before) -> Result<Entry> {
        let mut pax = before.pax.unwrap_or_default();
        let records = std::mem::take(&mut pax.sparse);
        let path = records.name.clone().or(before.path).or(pax.path).unwrap_or(fields.path);
        let kind = Kind::of(fields.kind, &path);
        // As in Go: what has no content has none, whatever its header says; whether a link's size counts is where
        // implementations differ most.
        let stored = if kind == Kind::File { pax.size.unwrap_or(fields.size) } else { 0 };
        let stored = match kind {
            Kind::Other(_) => pax.size.unwrap_or(fields.size),
            _ => stored,
        };
        self.content = stored;
        self.padding = stored.wrapping_neg() % BLOCK;
        let (size, extents) = match kind {
            Kind::File => self.layout(header, fields.kind, records, stored)?,
            _ => (stored, None),
        };
        Ok(Entry {
            kind,
            path,
            link: before.link.or(pax.link).unwrap_or(fields.link),
            size,
            mode: fields.mode,
            uid: pax.uid.unwrap_or(fields.uid),
            gid: pax.gid.unwrap_or(fields.gid),
            modified: pax.modified.unwrap_or((fields.modified, 0)),
            xattrs: pax.xattrs,
            extents,
        })
    }

    /// A file's length and, of a sparse one, where its pieces lie.
    fn layout(
        &mut self,
        header: &Header,
        kind: u8,
        mut records: sparse::Records,
        stored: u64,
    ) -> Result<(u64, Option<Vec<Extent>>)> {
        let (map, size) = match (kind, records.map()?) {
            (b'S', _) => self.gnu_map(header)?,
            (_, Map::None) => return Ok((stored, None)),
            (_, Map::Known(map)) => (map, records.size),
            (_, Map::Ahead) => (self.map_ahead()?, records.size),
        };
        let size = size.ok_or_else(|| sparse::malformed("no size"))?;
        sparse::check(&map, self.content, size)?;
        Ok((size, Some(map)))
    }

    /// GNU's own form: four pieces in the header, more in blocks between header and content.
    fn gnu_map(&mut self, header: &Header) -> Result<(Vec<Extent>, Option<u64>)> {
        let gnu = header.as_gnu().ok_or_else(|| sparse::malformed("a header of another kind of tar"))?;
        let size = super::header::number(&gnu.realsize).and_then(|size| u64::try_from(size).ok());
        let mut map = Vec::new();
        sparse::take_headers(&mut map, &gnu.sparse)?;
        let mut more = gnu.is_extended();
        for _ in 0..limits::EXTENTS {
            if !more {
                return Ok((map, size));
            }
            let mut block = [0; BLOCK as usize];
            self.fill(&mut block)?;
            more = sparse::take_continuation(&mut map, &block)?;
        }
        Err(sparse::malformed("a map without an end"))
    }

    /// PAX 1.0: lines of decimal numbers in front of the content, filled up to a whole block.
    fn map_ahead(&mut self) -> Result<Vec<Extent>> {
        let mut text = Vec::new();
        let (mut lines, mut wanted) = (0_u64, None);
        let mut numbers = Vec::new();
        while wanted.is_none_or(|wanted| lines < wanted) {
            if self.content < BLOCK || text.len() as u64 > limits::EXTENSION {
                return Err(sparse::malformed("a map without an end"));
            }
            let mut block = [0; BLOCK as usize];
            self.fill(&mut block)?;
            self.content -= BLOCK;
            for byte in block {
                if wanted.is_some_and(|wanted| lines >= wanted) {
                    break;
                }
                if byte != b'\n' {
                    text.push(byte);
                    continue;
                }
                let number = super::pax::decimal(&std::mem::take(&mut text))?;
                lines += 1;
                match wanted {
                    None => {
                        wanted = number.checked_mul(2).and_then(|twice| twice.checked_add(1));
                        if wanted.is_none_or(|_| number > limits::EXTENTS as u64) {
                            return Err(sparse::malformed("too many pieces"));
                        }
                    }
                    Some(_) => numbers.push(number),
                }
            }
        }
        let pairs = numbers.chunks_exact(2);
        Ok(pairs
            .filter_map(|pair| pair.first_chunk())
            .map(|&[offset, length]| Extent { offset, length })
            .collect())
    }

    /// The next header that is not zeros.
    fn header(&mut self) -> Result<Option<Header>> {
        let mut header = Header::new_old();
        if !self.block(header.as_mut_bytes())? {
            return Ok(None);
        }
        if header.as_bytes().iter().any(|&byte| byte != 0) {
            return Ok(Some(header));
        }
        // One block of zeros announces the end; anything but a second one behind it is no archive.
        let mut second = Header::new_old();
        if self.block(second.as_mut_bytes())? && second.as_bytes().iter().any(|&byte| byte != 0) {
            return Err(Error::new("archive", "an entry follows its end"));
        }
        Ok(None)
    }

    /// A whole block; false at the end of the stream.
    fn block(&mut self, block: &mut [u8]) -> Result<bool> {
        if self.input.fill_buf().map_err(|error| failed(&error))?.is_empty() {
            return Ok(false);
        }
        self.fill(block).map(|()| true)
    }

    fn fill(&mut self, block: &mut [u8]) -> Result<()> {
        self.input.read_exact(block).map_err(|error| failed(&error))
    }

    /// The content of an extended header.
    fn extension(&mut self, fields: &Fields) -> Result<Vec<u8>> {
        if fields.size > limits::EXTENSION {
            let why = format!("it is longer than {} bytes", limits::EXTENSION);
            return Err(Error::new("archive: extended header", why));
        }
        let mut data = vec![0; usize::try_from(fields.size).unwrap_or_default()];
        self.fill(&mut data)?;
        self.padding = fields.size.wrapping_neg() % BLOCK;
        Ok(data)
    }

    /// What is there of the next `most` bytes.
    fn piece(&mut self, most: u64) -> Result<&[u8]> {
        let buffer = self.input.fill_buf().map_err(|error| failed(&error))?;
        if buffer.is_empty() {
            return Err(Error::new("archive", "it ends in the middle"));
        }
        let most = usize::try_from(most).unwrap_or(usize::MAX).min(buffer.len());
        Ok(buffer.get(..most).unwrap_or(buffer))
    }

    fn skip(&mut self, mut bytes: u64) -> Result<()> {
        while bytes > 0 {
            let taken = self.piece(bytes)?.len();
            self.input.consume(taken);
            bytes = bytes.saturating_sub(u64::try_from(taken).unwrap_or(u64::MAX));
        }
        Ok(())
    }
}

/// GNU's long names end at the first NUL.
fn text(mut data: Vec<u8>) -> Vec<u8> {
    let end = data.iter().position(|&byte| byte == 0).unwrap_or(data.len());
    data.truncate(end);
    data
}
