//! What a command prints: a page for people, or one JSON document.

use std::io::Write as _;

use serde::Serialize;

use crate::error::AppError;

/// Prints results in the form that was asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    /// One JSON document instead of text.
    pub(crate) json: bool,
}

impl Output {
    /// Prints a result: `text` for people, `document` for machines.
    ///
    /// # Errors
    /// Standard output is not to be had. A reader who went away early is no error.
    pub(crate) fn show<T: Serialize>(
        self,
        document: &T,
        text: impl FnOnce() -> String,
    ) -> Result<(), AppError> {
        let text = if self.json {
            serde_json::to_string_pretty(document)
                .map_err(|error| AppError::Failed(format!("the result is no JSON: {error}")))?
        } else {
            text()
        };
        line(&text)
    }
}

/// Prints a line to standard output.
///
/// # Errors
/// As [`Output::show`].
pub(crate) fn line(text: &str) -> Result<(), AppError> {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{}", text.trim_end()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Prints an error: text to standard error; with `--json` a document to standard output.
pub(crate) fn error(error: &AppError, json: bool) {
    if json {
        let text = serde_json::to_string_pretty(&error.document()).unwrap_or_default();
        drop(line(&text));
    } else {
        drop(writeln!(std::io::stderr().lock(), "calbridge: {error}"));
    }
}

/// A table in plain text: columns as wide as they need be, two spaces between them.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let widths: Vec<usize> = head
        .iter()
        .enumerate()
        .map(|(column, title)| {
            rows.iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .chain([title.chars().count()])
                .max()
                .unwrap_or(0)
        })
        .collect();
    let mut lines = vec![row_of(head.iter().copied(), &widths)];
    lines.extend(
        rows.iter()
            .map(|row| row_of(row.iter().map(String::as_str), &widths)),
    );
    lines.join("\n")
}

fn row_of<'a>(cells: impl Iterator<Item = &'a str>, widths: &[usize]) -> String {
    let mut line = String::new();
    for (cell, width) in cells.zip(widths) {
        line.push_str(cell);
        let fill = width.saturating_sub(cell.chars().count()) + 2;
        line.extend(std::iter::repeat_n(' ', fill));
    }
    line.trim_end().to_owned()
}
