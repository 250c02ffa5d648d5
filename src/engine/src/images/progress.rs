//! What a client sees while something takes its time: JSON, one document a line, as Docker writes it.

use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::Failure;

/// Lines that may wait for a slow client.
const WAITING: usize = 64;
/// Between two lines about the same bytes.
const PACE: Duration = Duration::from_millis(100);
/// Of the bar, in characters.
const WIDTH: u64 = 50;

/// Where the lines go. Its other end's closing is the client's going away.
#[derive(Debug, Clone)]
pub struct Progress(mpsc::Sender<Bytes>);

/// A line.
#[derive(Debug, Clone, Default, Serialize)]
struct Line<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'a str>,
    #[serde(rename = "progressDetail", skip_serializing_if = "Option::is_none")]
    detail: Option<Detail>,
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(rename = "errorDetail", skip_serializing_if = "Option::is_none")]
    failure: Option<Trouble<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aux: Option<&'a Value>,
}

#[derive(Debug, Clone, Copy, Default, Serialize)]
struct Detail {
    #[serde(skip_serializing_if = "Option::is_none")]
    current: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<u64>,
}

#[derive(Debug, Clone, Serialize)]
struct Trouble<'a> {
    message: &'a str,
}

/// Lines about a number of bytes that grows.
#[derive(Debug)]
pub struct Meter<'a> {
    progress: &'a Progress,
    status: &'static str,
    id: &'a str,
    total: u64,
    told: Option<Instant>,
}

impl Progress {
    /// Both ends.
    pub fn channel() -> (Self, mpsc::Receiver<Bytes>) {
        let (sender, receiver) = mpsc::channel(WAITING);
        (Self(sender), receiver)
    }

    /// `{"status":…}`
    pub async fn status(&self, status: &str) {
        self.send(&Line { status: Some(status), ..Line::default() }).await;
    }

    /// `{"status":…,"id":…}`
    pub async fn status_of(&self, status: &str, id: &str) {
        self.send(&Line { status: Some(status), id: Some(id), ..Line::default() }).await;
    }

    /// A step of something with an id: `{"status":…,"progressDetail":{},"id":…}`
    pub async fn step(&self, status: &str, id: &str) {
        let detail = Some(Detail::default());
        self.send(&Line { status: Some(status), detail, id: Some(id), ..Line::default() }).await;
    }

    /// `{"stream":…}`
    pub async fn stream(&self, text: &str) {
        self.send(&Line { stream: Some(text), ..Line::default() }).await;
    }

    /// `{"progressDetail":{},"aux":…}`
    pub async fn aux(&self, aux: &Value) {
        let detail = Some(Detail::default());
        self.send(&Line { detail, aux: Some(aux), ..Line::default() }).await;
    }

    /// The last line, of what failed after the first one.
    pub async fn failure(&self, failure: &Failure) {
        let message = failure.message.as_str();
        let detail = Some(Trouble { message });
        self.send(&Line { failure: detail, error: Some(message), ..Line::default() }).await;
    }

    /// Lines about bytes.
    pub fn meter<'a>(&'a self, status: &'static str, id: &'a str, total: u64) -> Meter<'a> {
        Meter { progress: self, status, id, total, told: None }
    }

    async fn send(&self, line: &Line<'_>) {
        if let Some(line) = text(line) {
            // A client that is gone ends the whole undertaking from elsewhere.
            self.0.send(line).await.ok();
        }
    }
}

impl Meter<'_> {
    /// So many bytes by now. Lines come no faster than people read, and a full channel drops them.
    pub fn at(&mut self, current: u64) {
        if self.told.is_some_and(|told| told.elapsed() < PACE) {
            return;
        }
        self.told = Some(Instant::now());
        let bar = bar(current, self.total);
        let detail = Some(Detail { current: Some(current), total: Some(self.total).filter(|&n| n > 0) });
        let line = Line {
            status: Some(self.status),
            detail,
            progress: Some(&bar),
            id: Some(self.id),
            ..Line::default()
        };
        if let Some(line) = text(&line) {
            self.progress.0.try_send(line).ok();
        }
    }
}

fn text(line: &Line<'_>) -> Option<Bytes> {
    let mut text = serde_json::to_vec(line).ok()?;
    text.extend_from_slice(b"\r\n");
    Some(text.into())
}

/// The bar that old clients print as it comes.
fn bar(current: u64, total: u64) -> String {
    let size = human(current);
    if total == 0 {
        return format!("{size:>8}");
    }
    let filled = (u128::from(current) * 100 / u128::from(total) / 2).min(u128::from(WIDTH)) as usize;
    let bar = format!("[{}>{}] ", "=".repeat(filled), " ".repeat(WIDTH as usize - filled));
    if current > total { format!("{bar}{size:>8}") } else { format!("{bar}{size:>8}/{}", human(total)) }
}

/// Bytes with four digits, in thousands: `1.986MB`.
fn human(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    let mut size = bytes as f64;
    let mut unit = UNITS[0];
    for larger in &UNITS[1..] {
        if size < 1000.0 {
            break;
        }
        size /= 1000.0;
        unit = larger;
    }
    let before = if size >= 1000.0 { 4 } else { size.max(1.0).log10().floor() as usize + 1 };
    let text = format!("{size:.*}", 4_usize.saturating_sub(before));
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{unit}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bars_are_dockers() {
        let first = "[=>                                                 ]  43.52kB/1.986MB";
        assert_eq!(bar(43_520, 1_985_852), first);
        assert_eq!(
            bar(2_140_160, 1_985_852),
            "[==================================================>]   2.14MB"
        );
        assert_eq!(bar(7, 0), "      7B");
    }

    #[tokio::test]
    async fn lines_are_dockers() {
        let (progress, mut lines) = Progress::channel();
        progress.status_of("Pulling from t/bb", "1").await;
        progress.step("Pull complete", "0123456789ab").await;
        progress.failure(&Failure::failed("no")).await;
        progress.meter("Downloading", "x", 4).at(2);
        progress.aux(&serde_json::json!({ "Size": 1 })).await;
        let mut next = || String::from_utf8(lines.try_recv().expect("a line").to_vec()).expect("text");
        assert_eq!(next(), "{\"status\":\"Pulling from t/bb\",\"id\":\"1\"}\r\n");
        assert_eq!(
            next(),
            "{\"status\":\"Pull complete\",\"progressDetail\":{},\"id\":\"0123456789ab\"}\r\n"
        );
        assert_eq!(next(), "{\"errorDetail\":{\"message\":\"no\"},\"error\":\"no\"}\r\n");
        let downloading = next();
        assert!(downloading.starts_with(
            "{\"status\":\"Downloading\",\"progressDetail\":{\"current\":2,\"total\":4},\"progress\":\"["
        ));
        assert_eq!(next(), "{\"progressDetail\":{},\"aux\":{\"Size\":1}}\r\n");
    }

    proptest! {
        #[test]
        fn no_number_breaks_the_bar(current: u64, total: u64) {
            prop_assert!(bar(current, total).len() < 90);
        }
    }
}
