//! Metadata: documents by kind and id in SQLite (WAL, `synchronous=FULL`), so that whoever was told "done" finds it done
//! after a crash.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use rusqlite::{Connection, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Failure, Result};

/// The version of the tables, in SQLite's `user_version`.
const VERSION: i64 = 1;

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
        let failed = |error| failed(&error).within(path.display());
        let connection = Connection::open(path).map_err(failed)?;
        connection.pragma_update(None, "journal_mode", "WAL").map_err(failed)?;
        connection.pragma_update(None, "synchronous", "FULL").map_err(failed)?;
        let version: i64 =
            connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(failed)?;
        if version > VERSION {
            let message = format!("{}: written by a newer version of casemated", path.display());
            return Err(Failure::failed(message));
        }
        connection
            .execute_batch(
                "CREATE TABLE IF NOT EXISTS documents (
                     kind TEXT NOT NULL, id TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (kind, id)
                 ) WITHOUT ROWID;",
            )
            .map_err(failed)?;
        connection.pragma_update(None, "user_version", VERSION).map_err(failed)?;
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
        let mut connection = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let batch = Batch(connection.transaction().map_err(|error| failed(&error))?);
        let result = change(&batch)?;
        batch.0.commit().map_err(|error| failed(&error))?;
        Ok(result)
    }
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

fn failed(error: &rusqlite::Error) -> Failure {
    Failure::failed(format!("metadata: {error}"))
}
