//! The log: what the process writes, cut into lines and kept as it was ordered.

mod file;
mod journal;
mod json;
mod lines;
mod time;

use std::os::fd::OwnedFd;

use casemate_spec::wire::LogOrder;

use file::JsonFile;
use journal::Journal;
use lines::Lines;

/// Which stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// The standard output, or the terminal.
    Stdout,
    /// The standard error.
    Stderr,
}

/// A log, and of each stream the line that is not complete yet.
#[derive(Debug)]
pub struct Log {
    sink: Sink,
    stdout: Lines,
    stderr: Lines,
}

#[derive(Debug)]
enum Sink {
    None,
    File(JsonFile),
    Journal(Journal),
}

impl Log {
    /// Opens it. That never fails: a log that cannot be written to loses lines, and says so when it can.
    pub fn open(order: &LogOrder, dir: Option<OwnedFd>) -> Self {
        let sink = match (order, dir) {
            (LogOrder::JsonFile { max_size, max_files }, Some(dir)) => {
                Sink::File(JsonFile::open(dir, *max_size, *max_files))
            }
            (LogOrder::Journald { fields }, _) => Sink::Journal(Journal::open(fields)),
            _ => Sink::None,
        };
        Self { sink, stdout: Lines::default(), stderr: Lines::default() }
    }

    /// Takes what was read from a stream. Complete lines are written when this returns.
    pub fn write(&mut self, stream: Stream, bytes: &[u8]) {
        let now = time::Stamp::now();
        let lines = match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        };
        match &mut self.sink {
            Sink::None => {}
            Sink::File(file) => {
                lines.feed(bytes, &now, |line| file.add(stream, line));
                file.flush();
            }
            Sink::Journal(journal) => lines.feed(bytes, &now, |line| journal.send(stream, line)),
        }
    }

    /// Writes what no line end came for.
    pub fn finish(&mut self) {
        for (stream, lines) in [(Stream::Stdout, &mut self.stdout), (Stream::Stderr, &mut self.stderr)] {
            let Some(line) = lines.rest() else { continue };
            match &mut self.sink {
                Sink::None => {}
                Sink::File(file) => file.add(stream, &line),
                Sink::Journal(journal) => journal.send(stream, &line),
            }
        }
        if let Sink::File(file) = &mut self.sink {
            file.flush();
        }
    }
}

impl Stream {
    /// Its name in a log.
    fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}
