//! Metadata: documents by kind and id in SQLite (WAL, `synchronous=FULL`), so that whoever was told "done" finds it done
//! after a crash.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, params};
use rustix::fs::FallocateFlags;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Failure, Result};

/// Pages of the write-ahead log before they go to the database proper.
const LOGGED: i64 = 256;
/// What is kept free for the log, and for the growth of the database, in bytes: on a full disk, what has ended is still
/// written down, and what is to make room can still be removed.
const KEPT_FREE: u64 = 3 << 19;
/// The version of the tables, in SQLite's `user_version`.
const VERSION: i64 = 1;

/// Documents, whatever they are.
const TABLES: &str = "CREATE TABLE IF NOT EXISTS documents (
    kind TEXT NOT NULL, id TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (kind, id)
) WITHOUT ROWID;";

/// The database.
#[derive(Debug)]
pub struct Db(Mutex<Connection>);

/// Changes that happen together or not at all.
#[derive(Debug)]
pub struct Batch<'a>(rusqlite::Transaction<'a>);

impl Db {
    /// Opens the database, and makes it when there is none.
    ///
    /// # Errors
    /// It cannot be opened, is damaged, or was written by a newer version.
    pub fn open(path: &Path) -> Result<Self> {
        if !path.exists() {
            drop(Self::connect(path)?);
        }
        // While it is closed: whoever closes a file of his own loses the locks that he has on it.
        keep_free(path);
        Self::connect(path)
    }

    fn connect(path: &Path) -> Result<Self> {
        let failed = |error| failed(&error).within(path.display());
        let connection = Connection::open(path).map_err(failed)?;
        // Nobody else opens it: the index of the log needs no file, which a full disk would have no room for.
        connection.pragma_update(None, "locking_mode", "EXCLUSIVE").map_err(failed)?;
        connection.pragma_update(None, "journal_mode", "WAL").map_err(failed)?;
        connection.pragma_update(None, "synchronous", "FULL").map_err(failed)?;
        connection.pragma_update(None, "wal_autocheckpoint", LOGGED).map_err(failed)?;
        // The log stays when it is closed, with the room that it has.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(failed)?;
        let version: i64 =
            connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(failed)?;
        if version > VERSION {
            let message = format!("{}: written by a newer version of casemated", path.display());
            return Err(Failure::failed(message));
        }
        if version < VERSION {
            connection.execute_batch(TABLES).map_err(failed)?;
            connection.pragma_update(None, "user_version", VERSION).map_err(failed)?;
        }
        Ok(Self(Mutex::new(connection)))
    }

    /// Every document of a kind, by id.
    ///
    /// # Errors
    /// One cannot be read: its id is named.
    pub fn all<T: DeserializeOwned>(&self, kind: &str) -> Result<Vec<(String, T)>> {
        let connection = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let read = || -> rusqlite::Result<Vec<(String, String)>> {
            let mut statement =
                connection.prepare_cached("SELECT id, body FROM documents WHERE kind = ?1 ORDER BY id")?;
            statement.query_map([kind], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
        };
        let documents = read().map_err(|error| failed(&error))?;
        let parse = |(id, body): (String, String)| match serde_json::from_str(&body) {
            Ok(document) => Ok((id, document)),
            Err(error) => Err(Failure::failed(format!("metadata of {kind} {id}: {error}"))),
        };
        documents.into_iter().map(parse).collect()
    }

    /// Writes one document.
    ///
    /// # Errors
    /// The database cannot be written.
    pub fn put<T: Serialize>(&self, kind: &str, id: &str, document: &T) -> Result<()> {
        self.write(|batch| batch.put(kind, id, document))
    }

    /// Removes one document; one that is not there is as good.
    ///
    /// # Errors
    /// The database cannot be written.
    pub fn remove(&self, kind: &str, id: &str) -> Result<()> {
        self.write(|batch| batch.remove(kind, id))
    }

    /// Several changes at once.
    ///
    /// # Errors
    /// Whatever `change` fails with, or the database; nothing has changed then.
    pub fn write<R>(&self, change: impl FnOnce(&Batch<'_>) -> Result<R>) -> Result<R> {
        transact(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner), change)
    }

    /// The same for what is worth nothing once the host is down: it outlives this process, and the disk is not waited for.
    ///
    /// # Errors
    /// As for [`Db::write`].
    pub fn write_lightly<R>(&self, change: impl FnOnce(&Batch<'_>) -> Result<R>) -> Result<R> {
        let mut connection = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        connection.pragma_update(None, "synchronous", "NORMAL").map_err(|error| failed(&error))?;
        let result = transact(&mut connection, change);
        connection.pragma_update(None, "synchronous", "FULL").map_err(|error| failed(&error))?;
        result
    }
}

fn transact<R>(connection: &mut Connection, change: impl FnOnce(&Batch<'_>) -> Result<R>) -> Result<R> {
    let batch = Batch(connection.transaction().map_err(|error| failed(&error))?);
    let result = change(&batch)?;
    batch.0.commit().map_err(|error| failed(&error))?;
    Ok(result)
}

impl Batch<'_> {
    /// Writes one document.
    ///
    /// # Errors
    /// The database cannot be written.
    pub fn put<T: Serialize>(&self, kind: &str, id: &str, document: &T) -> Result<()> {
        let body = serde_json::to_string(document)
            .map_err(|error| Failure::failed(format!("metadata of {kind} {id}: {error}")))?;
        self.0
            .prepare_cached("INSERT OR REPLACE INTO documents (kind, id, body) VALUES (?1, ?2, ?3)")
            .and_then(|mut statement| statement.execute(params![kind, id, body]))
            .map_err(|error| failed(&error))?;
        Ok(())
    }

    /// Removes one document; one that is not there is as good.
    ///
    /// # Errors
    /// The database cannot be written.
    pub fn remove(&self, kind: &str, id: &str) -> Result<()> {
        self.0
            .prepare_cached("DELETE FROM documents WHERE kind = ?1 AND id = ?2")
            .and_then(|mut statement| statement.execute(params![kind, id]))
            .map_err(|error| failed(&error))?;
        Ok(())
    }
}

/// Takes room behind the end of both files. Where the disk is full already, or its filesystem knows no such thing, there is
/// none, and writing fails when the disk is full.
fn keep_free(path: &Path) {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    for file in [path.to_owned(), PathBuf::from(log)] {
        let Ok(file) = std::fs::OpenOptions::new().append(true).open(file) else { continue };
        let size = file.metadata().map_or(0, |metadata| metadata.len());
        rustix::fs::fallocate(&file, FallocateFlags::KEEP_SIZE, size, KEPT_FREE).ok();
    }
}

fn failed(error: &rusqlite::Error) -> Failure {
    Failure::failed(format!("metadata: {error}"))
}
