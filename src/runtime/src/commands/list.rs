//! `list`.

use std::fmt::Write;
use std::process::ExitCode;

use casemate_spec::{ContainerId, Error, Result};

use super::state::View;
use crate::cli::{Format, Global, ListArgs};
use crate::log;
use crate::store::{Root, missing};

/// Lists the containers under the root directory. One that cannot be read is reported and left out.
///
/// # Errors
/// The root directory cannot be read.
pub fn list(global: &Global, args: &ListArgs) -> Result<ExitCode> {
    let ids = Root::list(global)?;
    if args.quiet {
        return super::print(&ids.iter().fold(String::new(), |text, id| text + id.as_str() + "\n"));
    }
    let views: Vec<_> = ids.iter().filter_map(|id| view(global, id)).collect();
    match args.format {
        // What Go makes of an empty list; its readers take both, but the shape is the same to the byte.
        Format::Json if views.is_empty() => super::print("null"),
        Format::Json => {
            let text =
                serde_json::to_string(&views).map_err(|error| Error::new("print list", error.to_string()))?;
            super::print(&text)
        }
        Format::Table => super::print(&table(&views)),
    }
}

fn view(global: &Global, id: &ContainerId) -> Option<View> {
    let container = match Root::container(global, id) {
        Ok(container) => container,
        // Made or deleted while we look.
        Err(error) if error == missing(id) => return None,
        Err(error) => {
            log::warn(format_args!("load container {error}"));
            return None;
        }
    };
    match View::of(&container) {
        Ok(view) => Some(View { owner: owner(container.record().owner), ..view }),
        Err(error) => {
            log::warn(format_args!("look at container {error}"));
            None
        }
    }
}

/// Columns at least 12 wide, 3 blanks between them, the last one ragged.
fn table(views: &[View]) -> String {
    let header = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned);
    let rows = views.iter().map(|view| {
        let bundle = view.bundle.display().to_string();
        [
            view.id.clone(),
            view.pid.to_string(),
            view.status.clone(),
            bundle,
            view.created.clone(),
            view.owner.clone(),
        ]
    });
    let rows: Vec<[String; 6]> = std::iter::once(header).chain(rows).collect();
    let mut widths = [12; 6];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count() + 3);
        }
    }
    let mut text = String::new();
    for row in &rows {
        let line = widths.iter().zip(row).fold(String::new(), |mut line, (&width, cell)| {
            // Writing to a String does not fail.
            write!(line, "{cell:width$}").unwrap_or_default();
            line
        });
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// The user's name by passwd(5); `#uid` without one.
fn owner(uid: u32) -> String {
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    });
    name.unwrap_or_else(|| format!("#{uid}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_table_is_the_header() {
        assert_eq!(table(&[]), "ID          PID         STATUS      BUNDLE      CREATED     OWNER\n");
    }

    #[test]
    fn owners_have_names() {
        assert_eq!(owner(0), "root");
        assert_eq!(owner(4_000_000_000), "#4000000000");
    }
}
