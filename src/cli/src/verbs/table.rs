//! Tables for people.

use std::io::Write as _;

use casemate_spec::{Error, Result};

/// Prints rows beneath a heading, each column as wide as its widest cell.
///
/// # Errors
/// The standard output cannot be written; a reader that has gone is none.
pub fn print<const N: usize>(heading: [&str; N], rows: &[[String; N]]) -> Result<()> {
    let mut widths = heading.map(str::len);
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = line(&heading.map(str::to_owned), &widths);
    for row in rows {
        text.push_str(&line(row, &widths));
    }
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::io("standard output", &error))
        }
        _ => Ok(()),
    }
}

fn line<const N: usize>(cells: &[String; N], widths: &[usize; N]) -> String {
    let padded = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
    format!("{}\n", padded.collect::<Vec<_>>().join("   ").trim_end())
}

/// Bytes as Docker shows them: three digits, decimal units.
pub fn size(bytes: f64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB", "PB"];
    let mut value = bytes;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    let digits = if value >= 100.0 || unit == 0 {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    format!("{value:.digits$}{}", units[unit])
}

/// How long ago, roughly.
pub fn ago(seconds: i64) -> String {
    let past = (jiff::Timestamp::now().as_second() - seconds).max(0);
    let (count, unit) = match past {
        0..60 => (past, "second"),
        60..3600 => (past / 60, "minute"),
        3600..172_800 => (past / 3600, "hour"),
        _ => (past / 86_400, "day"),
    };
    format!("{count} {unit}{} ago", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_have_three_digits() {
        let shown = [0.0, 999.0, 1000.0, 4_260_000.0, 77_800_000.0, 1.2e11].map(size);
        assert_eq!(shown, ["0B", "999B", "1.00kB", "4.26MB", "77.8MB", "120GB"]);
    }
}
