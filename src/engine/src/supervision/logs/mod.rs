//! What a container has written (`docker logs`), read from the files that its shim writes.

mod entry;
mod files;
mod render;
mod tail;

use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, stream};
use tokio::sync::watch;

use super::seat::Tally;
use crate::containers::{self, Container, Status};
use crate::{Engine, Failure, Result, clock};
use files::Files;
use render::Render;

/// How long to wait for the log to catch up with output that was seen already, and for output that was not.
const LOOKS: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// What a client wants to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Asked {
    /// The standard output, or the terminal.
    pub stdout: bool,
    /// The standard error.
    pub stderr: bool,
    /// What comes later as well, until the end of the run.
    pub follow: bool,
    /// Each line begins with its time.
    pub timestamps: bool,
    /// Each line begins with what the log options name of labels and variables.
    pub details: bool,
    /// Nothing older, in nanoseconds since 1970.
    pub since: Option<u64>,
    /// Nothing newer.
    pub until: Option<u64>,
    /// At most so many lines before the end.
    pub tail: Option<usize>,
    /// Each piece in a frame that says which stream it is of.
    pub framed: bool,
}

/// A log as it is read.
#[derive(Debug)]
struct Reading {
    files: Option<Files>,
    render: Render,
    news: Option<News>,
    until: Option<u64>,
}

/// How one who follows a log learns that there is more.
#[derive(Debug)]
struct News {
    activity: watch::Receiver<u64>,
    tally: watch::Receiver<Tally>,
    /// The number of runs that had ended at the beginning.
    exits: u64,
    /// Output was seen that may not be in the log yet.
    behind: bool,
}

/// Reads a log. Pieces come as the client takes them.
///
/// # Errors
/// The container's log is kept elsewhere or nowhere, or no stream is asked for.
pub fn logs(
    engine: &Engine,
    container: &Container,
    asked: &Asked,
) -> Result<impl Stream<Item = std::io::Result<Bytes>> + Send + use<>> {
    if !(asked.stdout || asked.stderr) {
        return Err(Failure::invalid("Bad parameters: you must choose at least one stream"));
    }
    let asked_of = container.host_config();
    let driver = match asked_of.log_config.driver.as_str() {
        "" => engine.settings.log_driver.as_str(),
        driver => driver,
    };
    match driver {
        "" | "json-file" => {}
        "journald" => {
            let message =
                "logs are read of the json-file driver alone, and this container's are in the journal";
            let hint = format!("journalctl CONTAINER_ID_FULL={}", container.id);
            return Err(Failure::unsupported(format!("{message} (hint: {hint})")));
        }
        _ => return Err(Failure::unsupported("configured logging driver does not support reading")),
    }
    let runs = container.is_running() || container.state().status == Status::Restarting;
    let seat = engine.supervision.seat(&container.id);
    let news = (asked.follow && runs).then(|| {
        let mut tally = seat.watch();
        let exits = tally.borrow_and_update().exits;
        News { activity: seat.stdio.activity(), tally, exits, behind: true }
    });
    let folder = engine.settings.logs.join(container.id.as_str());
    let asked = *asked;
    let details = if asked.details { containers::log_details(container) } else { String::new() };
    let first = async move {
        let opened = tokio::task::spawn_blocking(move || Files::open(&folder, &asked)).await;
        let files = opened.map_err(std::io::Error::other)??;
        Ok(Reading { files: Some(files), render: Render::new(&asked, details), news, until: asked.until })
    };
    Ok(stream::unfold(State::First(Box::pin(first)), |state| async move {
        let mut reading = match state {
            State::First(first) => match first.await {
                Ok(reading) => Box::new(reading),
                Err(error) => return Some((Err(error), State::Over)),
            },
            State::Next(reading) => reading,
            State::Over => return None,
        };
        match reading.next().await {
            Ok(None) => None,
            Ok(Some(piece)) => Some((Ok(piece), State::Next(reading))),
            Err(error) => Some((Err(error), State::Over)),
        }
    }))
}

enum State<F> {
    First(std::pin::Pin<Box<F>>),
    Next(Box<Reading>),
    Over,
}

impl Reading {
    async fn next(&mut self) -> std::io::Result<Option<Bytes>> {
        loop {
            // Asked before reading: what was written before the end is read after it was seen.
            let over = self.news.as_ref().is_none_or(News::is_over) || self.is_late();
            let (piece, at_end) = self.read().await?;
            if !piece.is_empty() {
                return Ok(Some(piece));
            }
            if over && at_end {
                return Ok(None);
            }
            if !at_end {
                continue;
            }
            let patience = self.until.map(|until| Duration::from_nanos(until.saturating_sub(clock::now())));
            if let Some(news) = &mut self.news {
                news.wait(patience.unwrap_or(LOOKS.1)).await;
            }
        }
    }

    /// Whatever comes now comes after the time that was asked for.
    fn is_late(&self) -> bool {
        self.until.is_some_and(|until| clock::now() > until)
    }

    async fn read(&mut self) -> std::io::Result<(Bytes, bool)> {
        let Some(mut files) = self.files.take() else { return Ok((Bytes::new(), true)) };
        let mut render = self.render.clone();
        let work = move || {
            let mut out = Vec::new();
            let read = files.read(&mut |entry| render.add(entry, &mut out));
            (read, files, render, out)
        };
        let (read, files, render, out) =
            tokio::task::spawn_blocking(work).await.map_err(std::io::Error::other)?;
        (self.files, self.render) = (Some(files), render);
        Ok((out.into(), read?))
    }
}

impl News {
    fn is_over(&self) -> bool {
        let tally = self.tally.borrow();
        tally.removed || tally.exits > self.exits
    }

    async fn wait(&mut self, most: Duration) {
        let patience = if self.behind { LOOKS.0 } else { LOOKS.1 };
        tokio::select! {
            changed = self.activity.changed() => self.behind = changed.is_ok(),
            _ended = self.tally.changed() => {}
            () = tokio::time::sleep(patience.min(most)) => self.behind = false,
        }
    }
}
