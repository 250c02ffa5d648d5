//! An archive in zstd: frames, one behind the other. The decoder knows one at a time.

use std::io::{self, BufRead, Read};

use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use super::WINDOW;

/// All frames of a stream, decompressed as they are read.
pub struct Frames<R> {
    source: R,
    decoder: FrameDecoder,
    /// A frame was begun.
    begun: bool,
}

impl<R: BufRead> Frames<R> {
    /// Of a stream that is to begin with a frame. One that asks for a larger window than we give is an error.
    pub fn new(source: R) -> Self {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(u64::from(WINDOW));
        Self { source, decoder, begun: false }
    }

    /// Begins the next frame; false is the end.
    fn begin(&mut self) -> io::Result<bool> {
        loop {
            if self.source.fill_buf()?.is_empty() {
                return Ok(false);
            }
            let length = match self.decoder.init(&mut self.source) {
                Ok(()) => return Ok(true),
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => u64::from(length),
                Err(error) => return Err(io::Error::other(format!("zstd: {error}"))),
            };
            // Remarks, for whoever has use for them.
            if io::copy(&mut self.source.by_ref().take(length), &mut io::sink())? < length {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

impl<R: BufRead> Read for Frames<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.begun && self.decoder.can_collect() > 0 {
                return self.decoder.read(into);
            }
            if !self.begun || self.decoder.is_finished() {
                if !self.begin()? {
                    return Ok(0);
                }
                self.begun = true;
            }
            // A block at a time: the window and one block are in memory, never a whole frame.
            self.decoder
                .decode_blocks(&mut self.source, BlockDecodingStrategy::UptoBlocks(1))
                .map_err(|error| io::Error::other(format!("zstd: {error}")))?;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    use super::*;

    fn read(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        Frames::new(bytes).read_to_end(&mut text)?;
        Ok(text)
    }

    fn packed(text: &[u8]) -> Vec<u8> {
        compress_to_vec(text, CompressionLevel::Fastest)
    }

    #[test]
    fn frames_follow_each_other_and_remarks_are_passed_over() {
        let long: Vec<u8> = (0..600_000_u32).flat_map(u32::to_le_bytes).collect();
        let remark = [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"abc"].concat();
        let stream = [packed(b"one"), remark.clone(), packed(b""), packed(&long), remark].concat();
        assert_eq!(read(&stream).expect("read"), [&b"one"[..], &long].concat());
        assert_eq!(read(b"").expect("nothing"), b"");
    }

    #[test]
    fn what_is_cut_off_is_no_end() {
        let whole = packed(&vec![7; 300_000]);
        for length in 1..whole.len() {
            assert!(read(&whole[..length]).is_err(), "{length} of {}", whole.len());
        }
        let remark = [0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, b'a'];
        assert!(read(&[packed(b"one"), remark.to_vec()].concat()).is_err());
        assert!(read(&[packed(b"one"), b"more".to_vec()].concat()).is_err());
    }

    #[test]
    fn a_window_larger_than_ours_is_refused() {
        // Magic number, no single segment, a window of 2^(10+31) bytes.
        let greedy = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 31 << 3, 1, 0, 0];
        let error = read(&greedy).expect_err("too large").to_string();
        assert!(error.to_lowercase().contains("window"), "{error}");
    }

    proptest! {
        #[test]
        fn no_bytes_break_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            read(&bytes).ok();
            read(&[&[0x28, 0xb5, 0x2f, 0xfd][..], &bytes].concat()).ok();
        }
    }
}
