//! Archives as they come from clients: pieces of a body as a reader, and what is packed in them unpacked.

mod frames;

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, Write};

use bytes::{Buf, Bytes};
use tokio::sync::mpsc;

use crate::Result;

/// Pieces on their way to a reader in another thread.
const WAITING: usize = 16;

/// What xz or zstd may hold in memory, in bytes: more than their strongest presets ask for.
const WINDOW: u32 = 128 << 20;
/// What begins like this is packed like that.
const GZIP: &[u8] = &[0x1f, 0x8b];
const BZIP2: &[u8] = b"BZh";
const XZ: &[u8] = &[0xfd, b'7', b'z', b'X', b'Z', 0];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

/// Looks at how an archive is packed, and unpacks it as it is read.
///
/// # Errors
/// Its beginning cannot be read.
pub fn plain(from: impl Read + Send + 'static) -> Result<Box<dyn Read + Send>> {
    let mut from = BufReader::with_capacity(256 << 10, from);
    let head = head(&mut from)?;
    let from = Read::chain(io::Cursor::new(head.clone()), from);
    if head.starts_with(GZIP) {
        return Ok(Box::new(flate2::read::MultiGzDecoder::new(from)));
    }
    if head.starts_with(BZIP2) {
        return Ok(Box::new(bzip2::read::MultiBzDecoder::new(from)));
    }
    if head.starts_with(XZ) {
        return Ok(Box::new(lzma_rust2::XzReader::new_mem_limit(from, true, WINDOW >> 10)));
    }
    if head.starts_with(ZSTD) {
        return Ok(Box::new(frames::Frames::new(from)));
    }
    Ok(Box::new(from))
}

/// The first bytes, of which there may be fewer.
fn head(from: &mut impl Read) -> Result<Vec<u8>> {
    let mut head = Vec::new();
    from.take(8).read_to_end(&mut head)?;
    Ok(head)
}

/// A reader in another thread, for pieces that arrive here.
pub struct Pieces {
    receiver: mpsc::Receiver<io::Result<Bytes>>,
    piece: Bytes,
}

impl Pieces {
    /// Both ends. Dropping the sender ends the bytes: whoever has not come to the end of the body sends an error first.
    pub fn channel() -> (mpsc::Sender<io::Result<Bytes>>, Self) {
        let (sender, receiver) = mpsc::channel(WAITING);
        (sender, Self { receiver, piece: Bytes::new() })
    }
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.receiver.blocking_recv() {
                Some(piece) => self.piece = piece?,
                None => return Ok(0),
            }
        }
        let length = self.piece.len().min(buffer.len());
        self.piece.split_to(length).copy_to_slice(buffer.get_mut(..length).unwrap_or_default());
        Ok(length)
    }
}

/// A writer in another thread, whose pieces go to a body.
pub struct Outlet(pub mpsc::Sender<io::Result<Bytes>>);

impl Write for Outlet {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.0.blocking_send(Ok(Bytes::copy_from_slice(bytes)));
        sent.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How a layer's archive is packed, as a manifest calls it; nothing for what no manifest has a word for.
///
/// # Errors
/// It cannot be read.
pub fn media_type(file: &mut File) -> Result<Option<&'static str>> {
    file.rewind()?;
    let head = head(file)?;
    file.rewind()?;
    Ok(match head {
        head if head.starts_with(GZIP) => Some(super::manifest::DOCKER_LAYER),
        head if head.starts_with(ZSTD) => Some("application/vnd.oci.image.layer.v1.tar+zstd"),
        head if head.starts_with(BZIP2) || head.starts_with(XZ) => None,
        _ => Some(super::manifest::DOCKER_TAR),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unpacked(packed: &[u8]) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        plain(io::Cursor::new(packed.to_vec()))?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    #[test]
    fn what_is_packed_is_unpacked_and_what_is_plain_stays() {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(b"hello").expect("packed");
        assert_eq!(unpacked(&gzip.finish().expect("packed")).expect("gzip"), b"hello");
        let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        bzip2.write_all(b"hello").expect("packed");
        assert_eq!(unpacked(&bzip2.finish().expect("packed")).expect("bzip2"), b"hello");
        for text in [&b""[..], b"h", b"hello, and more than the head of it"] {
            assert_eq!(unpacked(text).expect("plain"), text);
        }
        assert!(unpacked(&[0x1f, 0x8b, 0, 0]).is_err());
        assert!(unpacked(&[0xfd, b'7', b'z', b'X', b'Z', 0, 0, 0]).is_err());
    }
}
