//! Blobs by their SHA-256: configurations, manifests, and layers as they were packed. A blob appears whole or not at
//! all: it is written beside, synchronised, and renamed.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use casemate_spec::wire::HexId;
use ring::digest::{Context, SHA256};

use crate::{Failure, Result};

/// The store of blobs.
#[derive(Debug, Clone)]
pub struct Blobs {
    blobs: PathBuf,
    drafts: PathBuf,
}

/// A blob that is being written; what is not kept disappears.
pub struct Draft {
    file: File,
    path: PathBuf,
    blobs: PathBuf,
    digest: Context,
    size: u64,
}

impl Blobs {
    /// Opens the store beneath the daemon's folder. Drafts of an earlier life are removed.
    ///
    /// # Errors
    /// The folders cannot be made.
    pub fn open(home: &Path) -> Result<Self> {
        let store = Self { blobs: home.join("blobs/sha256"), drafts: home.join("tmp") };
        let make = |folder: &Path| {
            fs::create_dir_all(folder).map_err(|error| Failure::from(error).within(folder.display()))
        };
        make(&store.blobs)?;
        make(&store.drafts)?;
        for entry in fs::read_dir(&store.drafts)? {
            let path = entry?.path();
            if let Err(error) = fs::remove_file(&path) {
                eprintln!("casemated: {}: {error}", path.display());
            }
        }
        Ok(store)
    }

    fn path(&self, digest: &HexId) -> PathBuf {
        self.blobs.join(digest.as_str())
    }

    /// Opens a blob; none when it is not there.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn find(&self, digest: &HexId) -> Result<Option<File>> {
        match File::open(self.path(digest)) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Failure::from(error).within(format!("blob {digest}"))),
        }
    }

    /// Opens a blob that must be there.
    ///
    /// # Errors
    /// It is not.
    pub fn file(&self, digest: &HexId) -> Result<File> {
        self.find(digest)?.ok_or_else(|| Failure::failed(format!("blob {digest}: it is missing")))
    }

    /// Reads a small blob, and checks it.
    ///
    /// # Errors
    /// It is not there, larger than `most`, or not what its name says.
    pub fn read(&self, digest: &HexId, most: usize) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.file(digest)?.take(most as u64 + 1).read_to_end(&mut bytes)?;
        if bytes.len() > most {
            return Err(Failure::failed(format!("blob {digest}: larger than {most} bytes")));
        }
        if sha256(&bytes) != *digest {
            return Err(Failure::failed(format!("blob {digest}: damaged, its content has another digest")));
        }
        Ok(bytes)
    }

    /// Keeps a small blob.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn put(&self, bytes: &[u8]) -> Result<HexId> {
        let mut draft = self.draft()?;
        draft.write_all(bytes)?;
        Ok(draft.keep(None)?.0)
    }

    /// Begins a blob.
    ///
    /// # Errors
    /// No file can be made.
    pub fn draft(&self) -> Result<Draft> {
        // Unique in this life of the daemon; what an earlier one left was removed.
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = self.drafts.join(format!("blob-{number}"));
        let file = File::options().read(true).write(true).create_new(true).open(&path);
        let file = file.map_err(|error| Failure::from(error).within(path.display()))?;
        Ok(Draft { file, path, blobs: self.blobs.clone(), digest: Context::new(&SHA256), size: 0 })
    }

    /// Removes a blob; one that is not there is as good.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn remove(&self, digest: &HexId) -> Result<()> {
        match fs::remove_file(self.path(digest)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Failure::from(error).within(format!("blob {digest}")))
            }
            _ => Ok(()),
        }
    }

    /// Everything that is kept.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn all(&self) -> Result<Vec<HexId>> {
        let mut all = Vec::new();
        for entry in fs::read_dir(&self.blobs)? {
            all.extend(entry?.file_name().to_str().and_then(|name| name.parse::<HexId>().ok()));
        }
        Ok(all)
    }
}

impl Draft {
    /// Bytes written so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The digest of what was written so far.
    pub fn digest(&self) -> HexId {
        finish(self.digest.clone())
    }

    /// What was written, to be read from its beginning.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn reader(&self) -> Result<File> {
        Ok(File::open(&self.path)?)
    }

    /// Forgets what was written.
    ///
    /// # Errors
    /// The file cannot be emptied.
    pub fn restart(&mut self) -> Result<()> {
        self.file.set_len(0)?;
        io::Seek::rewind(&mut self.file)?;
        self.digest = Context::new(&SHA256);
        self.size = 0;
        Ok(())
    }

    /// Makes a blob of it, if it is the one that was expected. Answers its digest and size.
    ///
    /// # Errors
    /// It is another, or cannot be made durable.
    pub fn keep(self, expected: Option<&HexId>) -> Result<(HexId, u64)> {
        let digest = self.digest();
        if let Some(expected) = expected.filter(|expected| **expected != digest) {
            let message = format!("filesystem layer verification failed for digest sha256:{expected}");
            return Err(Failure::failed(message));
        }
        self.file.sync_all()?;
        fs::rename(&self.path, self.blobs.join(digest.as_str()))?;
        File::open(&self.blobs)?.sync_all()?;
        Ok((digest, self.size))
    }
}

impl std::fmt::Debug for Draft {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Draft({}, {} bytes)", self.path.display(), self.size)
    }
}

impl Write for Draft {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.digest.update(bytes.get(..written).unwrap_or(bytes));
        self.size = self.size.saturating_add(written as u64);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Once it is kept there is nothing left under this name.
        if let Err(error) = fs::remove_file(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            eprintln!("casemated: {}: {error}", self.path.display());
        }
    }
}

/// The digest of some bytes.
pub fn sha256(bytes: &[u8]) -> HexId {
    let mut context = Context::new(&SHA256);
    context.update(bytes);
    finish(context)
}

/// The digest of what a context has seen.
pub fn finish(context: Context) -> HexId {
    let mut bytes = [0; 32];
    // SHA-256 has 32 bytes, so the two always fit.
    for (to, from) in bytes.iter_mut().zip(context.finish().as_ref()) {
        *to = *from;
    }
    HexId::from_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::images::scratch::Scratch;

    #[test]
    fn a_blob_is_what_its_name_says_or_is_not() {
        let scratch = Scratch::new("blobs");
        let store = Blobs::open(&scratch.0).expect("store");
        let digest = store.put(b"hello").expect("put");
        assert_eq!(digest.as_str(), "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824");
        assert_eq!(store.read(&digest, 5).expect("read"), b"hello");
        assert!(store.read(&digest, 4).is_err());

        let mut draft = store.draft().expect("draft");
        draft.write_all(b"hellO").expect("write");
        assert!(draft.keep(Some(&digest)).is_err());
        assert_eq!(store.all().expect("all"), std::slice::from_ref(&digest));
        assert_eq!(fs::read_dir(scratch.0.join("tmp")).expect("tmp").count(), 0);

        fs::write(scratch.0.join("blobs/sha256").join(digest.as_str()), b"HELLO").expect("damage");
        assert!(store.read(&digest, 5).expect_err("damaged").message.contains("damaged"));
        store.remove(&digest).expect("remove");
        store.remove(&digest).expect("again");
        assert!(store.find(&digest).expect("find").is_none());
    }

    #[test]
    fn drafts_of_an_earlier_life_go() {
        let scratch = Scratch::new("drafts");
        let store = Blobs::open(&scratch.0).expect("store");
        let mut draft = store.draft().expect("draft");
        draft.write_all(b"half").expect("write");
        std::mem::forget(draft);
        Blobs::open(&scratch.0).expect("again");
        assert_eq!(fs::read_dir(scratch.0.join("tmp")).expect("tmp").count(), 0);
    }
}
