//! Tables for people: columns as wide as they need to be, long cells broken between words.

use std::fmt::Write;

/// A table of `N` columns.
#[derive(Debug)]
pub struct Table<const N: usize> {
    /// Widest that a column may become, in characters.
    limits: [usize; N],
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    /// A table with a head.
    pub fn new(head: [&str; N], limits: [usize; N]) -> Self {
        Self { limits, rows: vec![head.map(str::to_owned)] }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: [String; N]) {
        self.rows.push(cells);
    }

    /// The table as text; no blanks at the ends of lines.
    pub fn text(&self) -> String {
        let rows: Vec<[Vec<String>; N]> = self.rows.iter().map(|row| self.broken(row)).collect();
        let mut widths = [0; N];
        for row in &rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                let widest = cell.iter().map(|line| line.chars().count()).max().unwrap_or(0);
                *width = widest.max(*width);
            }
        }
        let mut text = String::new();
        for row in &rows {
            let height = row.iter().map(Vec::len).max().unwrap_or(0);
            for number in 0..height {
                let mut line = String::new();
                for (cell, width) in row.iter().zip(widths) {
                    let part = cell.get(number).map_or("", String::as_str);
                    // Writing to a String does not fail.
                    write!(line, "{part:width$}  ").unwrap_or_default();
                }
                text.push_str(line.trim_end());
                text.push('\n');
            }
        }
        text
    }

    fn broken(&self, row: &[String; N]) -> [Vec<String>; N] {
        let mut limits = self.limits.iter();
        row.each_ref().map(|cell| lines(cell, limits.next().copied().unwrap_or(usize::MAX)))
    }
}

/// Breaks a text between words; a word longer than a line has a line of its own.
fn lines(text: &str, limit: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        // What a configuration says may hold anything; a terminal must not obey it.
        let word: String = word.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(&word),
            Some(line) if line.chars().count() + 1 + word.chars().count() <= limit => {
                line.push(' ');
                line.push_str(&word);
            }
            _ => lines.push(word),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_cells_are_broken_and_short_ones_stand_in_columns() {
        let mut table = Table::new(["A", "B"], [5, 9]);
        table.row(["x".into(), "one two three".into()]);
        table.row(["a\u{1b}b c".into(), "unbreakable".into()]);
        assert_eq!(table.text(), "A      B\nx      one two\n       three\na\u{fffd}b c  unbreakable\n");
    }
}
