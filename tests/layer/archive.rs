//! Archives: those that GNU tar makes of a folder, and those that no honest program makes.

use std::path::Path;
use std::process::{Command, Stdio};

/// Packs a folder with GNU tar.
pub fn tar(folder: &Path, options: &[&str]) -> Vec<u8> {
    let tar = Command::new("tar")
        .arg("-C")
        .arg(folder)
        .args(options)
        .args(["-cf", "-", "."])
        .output()
        .expect("tar");
    assert!(tar.status.success(), "{}", String::from_utf8_lossy(&tar.stderr));
    tar.stdout
}

/// Runs bytes through a program.
pub fn through(program: &str, options: &[&str], input: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut child = Command::new(program)
        .args(options)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    let mut stdin = child.stdin.take().expect("a pipe");
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().expect("its end");
    drop(writer.join().expect("written"));
    output.stdout
}

/// An archive by hand, entry by entry.
#[derive(Default)]
pub struct Archive(Vec<u8>);

impl Archive {
    /// Without an entry.
    pub fn new() -> Self {
        Self::default()
    }

    /// A regular file, of mode 0644 and root's.
    pub fn file(self, name: &str, content: &[u8]) -> Self {
        self.entry(b'0', name, "", content)
    }

    /// A directory.
    pub fn directory(self, name: &str) -> Self {
        self.entry(b'5', name, "", b"")
    }

    /// A symbolic link.
    pub fn symlink(self, name: &str, target: &str) -> Self {
        self.entry(b'2', name, target, b"")
    }

    /// A hard link.
    pub fn link(self, name: &str, target: &str) -> Self {
        self.entry(b'1', name, target, b"")
    }

    /// PAX records for the next entry.
    pub fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let mut data = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let length =
                (rest..).find(|length| rest + length.to_string().len() == *length).expect("a length");
            data.extend_from_slice(format!("{length} {key}=").as_bytes());
            data.extend_from_slice(value);
            data.push(b'\n');
        }
        self.entry(b'x', "pax", "", &data)
    }

    /// Any entry.
    pub fn entry(self, kind: u8, name: &str, link: &str, content: &[u8]) -> Self {
        self.header(kind, name, link, content.len() as u64).raw(content).fill()
    }

    /// A header alone, with what size it likes.
    pub fn header(mut self, kind: u8, name: &str, link: &str, size: u64) -> Self {
        let mut block = [0_u8; 512];
        let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, name.as_bytes());
        put(100, if kind == b'5' { b"0000755" } else { b"0000644" });
        put(108, b"0000000");
        put(116, b"0000000");
        put(124, format!("{size:011o}").as_bytes());
        put(136, b"07000000000");
        put(148, b"        ");
        put(156, &[kind]);
        put(157, link.as_bytes());
        put(257, b"ustar\x0000");
        let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.0.extend_from_slice(&block);
        self
    }

    /// Bytes as they are.
    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// Up to a whole block.
    fn fill(mut self) -> Self {
        let whole = self.0.len().next_multiple_of(512);
        self.0.resize(whole, 0);
        self
    }

    /// Without its end.
    pub fn open(self) -> Vec<u8> {
        self.0
    }

    /// With its end.
    pub fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}
