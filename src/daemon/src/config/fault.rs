//! What is wrong in a file that people write, shown where it stands, as compilers do.

use std::ops::Range;

use toml::Spanned;

/// One fault.
#[derive(Debug)]
pub struct Fault {
    /// Where, in bytes.
    pub span: Option<Range<usize>>,
    /// What.
    pub what: String,
}

impl Fault {
    /// About a value.
    pub fn at<T>(value: &Spanned<T>, what: impl Into<String>) -> Self {
        Self { span: Some(value.span()), what: what.into() }
    }

    /// `ORIGIN:LINE:COLUMN: what`, the line, and a marker beneath.
    pub fn show(&self, text: &str, origin: &str) -> String {
        let what = self.what.replace('\n', "; ");
        let Some(span) = &self.span else { return format!("{origin}: {what}") };
        let before = text.get(..span.start).unwrap_or(text);
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let lead = before.get(start..).unwrap_or_default();
        let line = text.get(start..).unwrap_or_default().lines().next().unwrap_or_default();
        let end = span.end.min(start + line.len()).max(span.start);
        let marked = text.get(span.start..end).unwrap_or_default().chars().count().max(1);
        // Lines up whatever tabs the line begins with.
        let pad: String = lead.chars().map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        let (row, column) = (before.matches('\n').count() + 1, lead.chars().count() + 1);
        format!("{origin}:{row}:{column}: {what}\n{line}\n{pad}{}", "^".repeat(marked))
    }
}
