//! Cutting a stream into lines as Docker does: one longer than 16 KiB is cut there, and its pieces bear one time.

use super::time::Stamp;

/// The longest piece.
pub(super) const LONGEST: usize = 16 << 10;

/// A line, or a piece of one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line<'a> {
    /// With its line end, if it has come.
    pub text: &'a [u8],
    /// When it was read; of a piece, when the first was.
    pub at: Stamp,
    /// There are pieces before it.
    pub continues: bool,
}

impl Line<'_> {
    /// Whether the line ends here.
    pub fn is_last(&self) -> bool {
        self.text.last() == Some(&b'\n')
    }
}

/// The beginning of a line whose end has not come.
#[derive(Debug, Default)]
pub(super) struct Lines {
    begun: Vec<u8>,
    /// When the line's first piece was read.
    since: Option<Stamp>,
}

impl Lines {
    /// Cuts `bytes`, after what came before.
    pub fn feed(&mut self, mut bytes: &[u8], now: &Stamp, mut line: impl FnMut(&Line<'_>)) {
        while !bytes.is_empty() {
            let room = LONGEST.saturating_sub(self.begun.len()).min(bytes.len());
            let (window, _) = bytes.split_at(room);
            let end = window.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
            let (piece, rest) = bytes.split_at(end.unwrap_or(room));
            bytes = rest;
            let is_full = self.begun.len() + piece.len() == LONGEST;
            if end.is_none() && !is_full {
                self.begun.extend_from_slice(piece);
                return;
            }
            let (at, continues) = (self.since.unwrap_or(*now), self.since.is_some());
            if self.begun.is_empty() {
                line(&Line { text: piece, at, continues });
            } else {
                self.begun.extend_from_slice(piece);
                line(&Line { text: &self.begun, at, continues });
                self.begun.clear();
            }
            self.since = if end.is_some() { None } else { Some(at) };
        }
    }

    /// What is left at the end of the stream.
    pub fn rest(&mut self) -> Option<Line<'_>> {
        let at = self.since.unwrap_or_else(Stamp::now);
        let continues = self.since.is_some();
        (!self.begun.is_empty()).then_some(Line { text: &self.begun, at, continues })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pieces that a stream becomes when it is read in chunks of `size`.
    fn pieces(stream: &[u8], size: usize) -> Vec<(usize, bool, bool)> {
        let (mut lines, mut seen, mut text) = (Lines::default(), Vec::new(), Vec::new());
        for chunk in stream.chunks(size) {
            lines.feed(chunk, &Stamp::now(), |line| {
                seen.push((line.text.len(), line.is_last(), line.continues));
                text.extend_from_slice(line.text);
            });
        }
        if let Some(line) = lines.rest() {
            seen.push((line.text.len(), line.is_last(), line.continues));
            text.extend_from_slice(line.text);
        }
        assert_eq!(text, stream, "nothing is lost or changed");
        seen
    }

    #[test]
    fn lines_are_cut_alike_however_they_are_read() {
        let long = |length: usize, end: &str| [&vec![b'x'; length][..], end.as_bytes()].concat();
        for size in [1, 7, 4096, LONGEST - 1, LONGEST, LONGEST + 1, 65_535] {
            assert_eq!(
                pieces(b"a\n\nbc\nd", size),
                [(2, true, false), (1, true, false), (3, true, false), (1, false, false)]
            );
            assert_eq!(pieces(&long(LONGEST - 1, "\n"), size), [(LONGEST, true, false)]);
            assert_eq!(pieces(&long(LONGEST, "\n"), size), [(LONGEST, false, false), (1, true, true)]);
            assert_eq!(
                pieces(&long(2 * LONGEST + 5, "\ny\n"), size),
                [(LONGEST, false, false), (LONGEST, false, true), (6, true, true), (2, true, false)]
            );
            assert_eq!(pieces(&long(LONGEST, ""), size), [(LONGEST, false, false)]);
        }
    }

    #[test]
    fn pieces_bear_the_first_ones_time() {
        let (mut lines, mut times) = (Lines::default(), Vec::new());
        for at in 0..3 {
            lines.feed(&vec![b'x'; LONGEST], &Stamp::at(at, 0), |line| times.push(line.at));
        }
        lines.feed(b"end\nnext\n", &Stamp::at(9, 0), |line| times.push(line.at));
        let expected = [0, 0, 0, 0, 9].map(|second| Stamp::at(second, 0));
        assert_eq!(times, expected);
    }
}
