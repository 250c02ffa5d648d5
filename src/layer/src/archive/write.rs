//! The writer: ustar headers, and PAX records for what does not fit them.

use std::io::{BufWriter, Write};

use casemate_spec::{Error, Result};
use sha2::{Digest as _, Sha256};
use tar::{EntryType, Header};

use super::{BLOCK, Entry, Kind, Xattr, pax};
use crate::input::hexadecimal;

/// The longest name in a header.
const NAME: usize = 100;
/// Above this a number has no place in a field of 8 bytes, ...
const SHORT: u64 = (1 << 21) - 1;
/// ... and in one of 12.
const LONG: u64 = (1 << 33) - 1;

/// Writes an archive from front to back. The same entries make the same bytes.
pub struct Writer<W: Write> {
    output: BufWriter<W>,
    hash: Sha256,
    written: u64,
    /// Bytes of the present entry's content that are still due.
    due: u64,
}

impl<W: Write> Writer<W> {
    /// Into a stream.
    pub fn new(output: W) -> Self {
        Self { output: BufWriter::with_capacity(256 << 10, output), hash: Sha256::new(), written: 0, due: 0 }
    }

    /// Begins an entry. A file's content must follow.
    ///
    /// # Errors
    /// Nobody reads.
    pub fn entry(&mut self, entry: &Entry) -> Result<()> {
        let records = records(entry);
        if !records.is_empty() {
            let mut header = Header::new_ustar();
            header.set_entry_type(EntryType::XHeader);
            copy(&mut header.as_old_mut().name, b"PaxHeaders.0");
            header.set_mode(0o644);
            self.header(header, records.len() as u64)?;
            self.put(&records)?;
            self.pad(records.len() as u64)?;
        }
        let mut header = Header::new_ustar();
        header.set_entry_type(kind(entry.kind));
        copy(&mut header.as_old_mut().name, &entry.path);
        copy(&mut header.as_old_mut().linkname, &entry.link);
        header.set_mode(entry.mode & 0o7777);
        header.set_uid(fit(entry.uid, SHORT));
        header.set_gid(fit(entry.gid, SHORT));
        header.set_mtime(u64::try_from(entry.modified.0).map_or(0, |seconds| fit(seconds, LONG)));
        self.due = entry.size;
        self.header(header, fit(entry.size, LONG))
    }

    /// More of the present file's content; what is beyond its size is dropped.
    ///
    /// # Errors
    /// Nobody reads.
    pub fn content(&mut self, piece: &[u8]) -> Result<()> {
        let most = usize::try_from(self.due).unwrap_or(usize::MAX).min(piece.len());
        self.due = self.due.saturating_sub(most as u64);
        self.put(piece.get(..most).unwrap_or_default())
    }

    /// Ends the present file; one that has become shorter while it was read is filled up with zeros.
    ///
    /// # Errors
    /// Nobody reads.
    pub fn end(&mut self, entry: &Entry) -> Result<()> {
        while self.due > 0 {
            self.content(&[0; 4096])?;
        }
        self.pad(entry.size)
    }

    /// Ends the archive; its SHA-256 in hexadecimal, and its length.
    ///
    /// # Errors
    /// Nobody reads.
    pub fn finish(mut self) -> Result<(String, u64)> {
        self.put(&[0; 2 * BLOCK as usize])?;
        self.output.flush().map_err(|error| Error::io("archive", &error))?;
        Ok((hexadecimal(&self.hash.finalize()), self.written))
    }

    fn header(&mut self, mut header: Header, size: u64) -> Result<()> {
        header.set_size(size);
        header.set_cksum();
        self.put(header.as_bytes())
    }

    fn pad(&mut self, size: u64) -> Result<()> {
        let rest = usize::try_from(size.wrapping_neg() % BLOCK).unwrap_or_default();
        self.put([0; BLOCK as usize].get(..rest).unwrap_or_default())
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.hash.update(bytes);
        self.written = self.written.saturating_add(bytes.len() as u64);
        self.output.write_all(bytes).map_err(|error| Error::io("archive", &error))
    }
}

/// What does not fit a header. Names that are not plain ASCII mean the same to everybody only here.
fn records(entry: &Entry) -> Vec<u8> {
    let mut records = Vec::new();
    let plain = |name: &[u8]| name.len() <= NAME && name.is_ascii();
    if !plain(&entry.path) {
        record(&mut records, b"path", &entry.path);
    }
    if !plain(&entry.link) {
        record(&mut records, b"linkpath", &entry.link);
    }
    for (key, number, most) in
        [("size", entry.size, LONG), ("uid", entry.uid, SHORT), ("gid", entry.gid, SHORT)]
    {
        if number > most {
            record(&mut records, key.as_bytes(), number.to_string().as_bytes());
        }
    }
    let (seconds, _) = entry.modified;
    if u64::try_from(seconds).map_or(true, |seconds| seconds > LONG) {
        record(&mut records, b"mtime", seconds.to_string().as_bytes());
    }
    for Xattr { name, value } in &entry.xattrs {
        record(&mut records, &[pax::XATTR, name].concat(), value);
    }
    records
}

/// `length keyword=value\n`, where the length counts its own digits.
fn record(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + digits(rest);
    if digits(length) != digits(rest) {
        length = rest + digits(length);
    }
    records.extend_from_slice(format!("{length} ").as_bytes());
    records.extend_from_slice(&[key, b"=", value, b"\n"].concat());
}

fn digits(number: usize) -> usize {
    number.to_string().len()
}

fn kind(kind: Kind) -> EntryType {
    match kind {
        Kind::File => EntryType::Regular,
        Kind::HardLink => EntryType::Link,
        Kind::Symlink => EntryType::Symlink,
        Kind::Device => EntryType::Char,
        Kind::Directory => EntryType::Directory,
        Kind::Fifo => EntryType::Fifo,
        Kind::Other(byte) => EntryType::new(byte),
    }
}

/// As much of a name as there is room for; the whole of it is in a record then.
fn copy(field: &mut [u8], name: &[u8]) {
    for (to, from) in field.iter_mut().zip(name) {
        *to = *from;
    }
}

fn fit(number: u64, most: u64) -> u64 {
    if number > most { 0 } else { number }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Extent, Reader};
    use super::*;

    fn name() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(1_u8.., 1..300)
    }

    prop_compose! {
        fn entry()(
            kind in prop::sample::select(vec![Kind::File, Kind::HardLink, Kind::Symlink, Kind::Directory, Kind::Fifo]),
            path in name(), link in name(), size in 0_u64..3000, mode in 0_u32..0o10000,
            uid in any::<u64>(), gid in 0_u64..4_000_000, seconds in any::<i32>(),
            xattrs in prop::collection::btree_map(name(), prop::collection::vec(any::<u8>(), 0..99), 0..3),
        ) -> Entry {
            let size = if kind == Kind::File { size } else { 0 };
            let xattrs = xattrs.into_iter().filter(|(name, _)| !name.contains(&b'='));
            let xattrs = xattrs.map(|(name, value)| Xattr { name, value }).collect();
            let modified = (i64::from(seconds) * 9, 0);
            Entry { kind, path, link, size, mode, uid, gid, modified, xattrs, extents: None }
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(entries in prop::collection::vec(entry(), 0..5), byte: u8) {
            let mut bytes = Vec::new();
            let mut writer = Writer::new(&mut bytes);
            for entry in &entries {
                writer.entry(entry).expect("written");
                // A file that has grown, then one that has shrunk.
                writer.content(&vec![byte; 2000]).expect("written");
                writer.end(entry).expect("written");
            }
            let (_, length) = writer.finish().expect("written");
            prop_assert_eq!(length, bytes.len() as u64);
            let mut reader = Reader::new(&bytes[..]);
            for entry in &entries {
                let read = reader.entry().expect("an entry").expect("one more");
                prop_assert_eq!(&read, entry);
                let mut sum = 0;
                reader.content(&read, |_, piece| { sum += piece.len() as u64; Ok(()) }).expect("content");
                prop_assert_eq!(sum, entry.size);
            }
            prop_assert_eq!(reader.entry().expect("the end"), None);
        }

        #[test]
        fn nothing_makes_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..3000), at in 0_usize..2000) {
            let mut archive = Vec::new();
            let mut writer = Writer::new(&mut archive);
            let path = vec![b'x'; 200];
            let entry = Entry {
                kind: Kind::File, path, link: Vec::new(), size: 600, mode: 0, uid: 0, gid: 0, modified: (0, 0),
                xattrs: vec![Xattr { name: b"user.a".to_vec(), value: vec![0; 30] }], extents: Some(vec![Extent { offset: 0, length: 1 }]),
            };
            writer.entry(&entry).expect("written");
            writer.end(&entry).expect("written");
            drop(writer);
            let at = at.min(archive.len());
            archive.splice(at.., bytes);
            let mut reader = Reader::new(&archive[..]);
            while let Ok(Some(entry)) = reader.entry() {
                if reader.content(&entry, |_, _| Ok(())).is_err() { break }
            }
        }
    }
}
