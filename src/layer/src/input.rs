//! A stream that comes in: decompressed by what its first bytes say, hashed and bounded.
//!
//! Reading and decompressing have a thread of their own, so that they go on while files are written.

use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use casemate_spec::{Error, Result};
use sha2::{Digest as _, Sha256};

use crate::limits;

/// Bytes that go from hand to hand.
const PIECE: usize = 256 << 10;
/// Pieces that wait to be written.
const AHEAD: usize = 4;

/// An uncompressed stream, read once.
pub struct Input {
    pieces: Receiver<io::Result<Piece>>,
    piece: Vec<u8>,
    at: usize,
    ended: bool,
    compressed: Arc<AtomicU64>,
    uncompressed: u64,
    hash: Hash,
}

/// What goes from hand to hand.
enum Piece {
    Bytes(Vec<u8>),
    /// The end, with the digest where the reading thread has hashed.
    End(Option<String>),
}

/// Who hashes: of the two threads the one that has less to do, and that is the reading one unless it decompresses.
enum Hash {
    Here(Sha256),
    There(Option<String>),
}

impl Input {
    /// Begins to read.
    ///
    /// # Errors
    /// It cannot be read, or is compressed in a way that is not known.
    pub fn open(source: impl Read + Send + 'static) -> Result<Self> {
        let compressed = Arc::new(AtomicU64::new(0));
        let source = BufReader::with_capacity(PIECE, Counted { source, count: Arc::clone(&compressed) });
        let (decoder, is_plain) = decoder(source).map_err(|error| Error::io("input", &error))?;
        let (sender, pieces) = sync_channel(AHEAD);
        let (here, there) = match is_plain {
            true => (Hash::There(None), Some(Sha256::new())),
            false => (Hash::Here(Sha256::new()), None),
        };
        thread::Builder::new()
            .name("input".to_owned())
            .spawn(move || forward(decoder, there, &sender))
            .map_err(|error| Error::io("input", &error))?;
        Ok(Self { pieces, piece: Vec::new(), at: 0, ended: false, compressed, uncompressed: 0, hash: here })
    }

    /// Of everything, which was read to its end: its SHA-256, in hexadecimal.
    ///
    /// # Errors
    /// It was not.
    pub fn digest(self) -> Result<String> {
        match self.hash {
            Hash::Here(hash) if self.ended => Ok(hexadecimal(&hash.finalize())),
            Hash::There(Some(digest)) => Ok(digest),
            _ => Err(Error::new("input", "it was not read to its end")),
        }
    }

    fn take(&mut self, piece: Vec<u8>) -> io::Result<()> {
        self.uncompressed = self.uncompressed.saturating_add(piece.len() as u64);
        // The thread may have read ahead: the ratio is not understated by more than its buffers hold.
        let most = self.compressed.load(Ordering::Relaxed).saturating_mul(limits::RATIO);
        if self.uncompressed > limits::RATIO_FROM && self.uncompressed > most {
            let why =
                format!("it grows to more than {} times its size when it is decompressed", limits::RATIO);
            return Err(io::Error::other(why));
        }
        if self.uncompressed > limits::CONTENT {
            return Err(io::Error::other(format!("it is longer than {} bytes", limits::CONTENT)));
        }
        if let Hash::Here(hash) = &mut self.hash {
            hash.update(&piece);
        }
        self.piece = piece;
        self.at = 0;
        Ok(())
    }
}

impl BufRead for Input {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.at >= self.piece.len() && !self.ended {
            match self.pieces.recv() {
                Ok(Ok(Piece::End(digest))) => {
                    self.ended = true;
                    self.piece = Vec::new();
                    if let Hash::There(there) = &mut self.hash {
                        *there = digest;
                    }
                }
                Ok(Ok(Piece::Bytes(piece))) => self.take(piece)?,
                Ok(Err(error)) => return Err(error),
                // A decompressor that gave up without a word has not come to the end.
                Err(_) => return Err(io::Error::other("the decompressor failed")),
            }
        }
        Ok(self.piece.get(self.at..).unwrap_or_default())
    }

    fn consume(&mut self, amount: usize) {
        self.at = self.at.saturating_add(amount).min(self.piece.len());
    }
}

impl Read for Input {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(into)?;
        self.consume(read);
        Ok(read)
    }
}

/// Sends the uncompressed stream in pieces, and its end. When nobody listens any more, nobody wants to know.
fn forward(mut decoder: impl Read, mut hash: Option<Sha256>, pieces: &SyncSender<io::Result<Piece>>) {
    loop {
        let mut piece = Vec::with_capacity(PIECE);
        let read = decoder.by_ref().take(PIECE as u64).read_to_end(&mut piece);
        let is_empty = piece.is_empty();
        if let Some(hash) = &mut hash {
            hash.update(&piece);
        }
        // An error comes behind what was read before it, for a decompressor that is asked once more may well say that all
        // is read.
        let sent = if is_empty { Ok(()) } else { pieces.send(Ok(Piece::Bytes(piece))) };
        let last = match (sent, read) {
            (Err(_), _) => return,
            (Ok(()), Err(error)) => Err(error),
            (Ok(()), Ok(_)) if is_empty => Ok(Piece::End(hash.map(|hash| hexadecimal(&hash.finalize())))),
            (Ok(()), Ok(_)) => continue,
        };
        return pieces.send(last).unwrap_or_default();
    }
}

/// The decompressor for what the stream begins with; as it is, when it begins with none of their marks, and so it says.
fn decoder(mut source: impl BufRead + Send + 'static) -> io::Result<(Box<dyn Read + Send>, bool)> {
    let start = source.fill_buf()?;
    let decoder: Box<dyn Read + Send> = match start {
        [0x1f, 0x8b, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(source)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            let mut decoder = zstd::Decoder::with_buffer(source)?;
            decoder.window_log_max(limits::WINDOW.ilog2())?;
            Box::new(decoder)
        }
        [b'B', b'Z', b'h', ..] => Box::new(bzip2::bufread::MultiBzDecoder::new(source)),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => {
            Box::new(lzma_rust2::XzReader::new_mem_limit(source, true, limits::WINDOW >> 10))
        }
        _ => return Ok((Box::new(source), true)),
    };
    Ok((decoder, false))
}

/// Counts what goes through.
struct Counted<R> {
    source: R,
    count: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(into)?;
        self.count.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

/// Bytes as hexadecimal digits.
pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}
