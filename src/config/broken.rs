//! What is no TOML, in words: one mistake for each thing that is wrong, not one for each place where it shows.
//! Nothing of the text is repeated: it may hold a secret.

use std::collections::BTreeMap;

/// Something about the text of a file that keeps it from being read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Broken {
    /// Where, as an offset in bytes; none: nowhere in particular.
    pub(super) at: Option<usize>,
    /// What is wrong.
    pub(super) message: String,
    /// What would be right.
    pub(super) help: Option<&'static str>,
}

/// What a Windows path must look like.
pub(super) const SINGLE_QUOTES: &str = r"in double quotes a backslash begins an escape sequence such as `\t`; write a Windows path between single quotes: 'C:\calbridge\calbridge.db'";

/// Puts the parser's errors into words.
pub(super) fn explain(text: &str, errors: &[toml::de::Error]) -> Vec<Broken> {
    let mut lines: BTreeMap<usize, Vec<(Option<usize>, &str)>> = BTreeMap::new();
    for error in errors {
        let at = error.span().map(|span| span.start);
        lines
            .entry(at.map_or(0, |at| line(text, at)))
            .or_default()
            .push((at, error.message()));
    }
    let mut found = Vec::new();
    for errors in lines.into_values() {
        let cause = errors
            .into_iter()
            .map(|(at, message)| (Cause::of(message), at, message))
            .min();
        let Some((cause, at, message)) = cause else {
            continue;
        };
        let quoted = matches!(cause, Cause::Open | Cause::OpenLines(_) | Cause::Opening);
        found.push(cause.told(text, at, message));
        if quoted {
            // What follows was read as if it stood inside of the quotes, or outside.
            break;
        }
    }
    found
}

/// What is behind an error. Of several in a line the first of these is what the others come from: a backslash
/// hides the quotation mark after it, and a missing one tears the rest of the line apart.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Cause {
    /// A backslash that begins no escape sequence.
    Escape,
    /// A text that does not end where its line does.
    Open,
    /// A text of several lines that begins with these quotation marks and does not end.
    OpenLines(&'static str),
    /// A text that ends and did not begin.
    Opening,
    /// Something else.
    Other,
}

impl Cause {
    fn of(message: &str) -> Self {
        if message.starts_with("missing escaped value")
            || message.ends_with("expected unicode hexadecimal value")
        {
            return Self::Escape;
        }
        match message {
            "invalid basic string, expected `\"`" | "invalid literal string, expected `'`" => {
                Self::Open
            }
            "invalid multi-line basic string, expected `\"`" => Self::OpenLines("\"\"\""),
            "invalid multi-line literal string, expected `'`" => Self::OpenLines("'''"),
            _ if message.starts_with("missing opening quote") => Self::Opening,
            _ => Self::Other,
        }
    }

    fn told(self, text: &str, at: Option<usize>, message: &str) -> Broken {
        let told = |at, message: &str, help| Broken {
            at,
            message: format!("not valid TOML: {message}"),
            help,
        };
        match self {
            Self::Escape => told(
                at,
                "a backslash begins no escape sequence here",
                Some(SINGLE_QUOTES),
            ),
            Self::Open => {
                let before = at.and_then(|at| text.get(..at)).unwrap_or_default();
                let in_line = before.rsplit('\n').next().unwrap_or_default();
                let last = in_line.rfind(['"', '\'']);
                let offset = before.len() - in_line.len();
                told(
                    last.map(|last| offset + last).or(at),
                    "a quotation mark is missing in this line",
                    None,
                )
            }
            Self::OpenLines(quotes) => told(
                at.and_then(|at| text.get(..at)?.rfind(quotes)).or(at),
                &format!("the text that begins with {quotes} here does not end"),
                None,
            ),
            Self::Opening => told(at, "a quotation mark is missing in this line", None),
            Self::Other => told(at, message, None),
        }
    }
}

fn line(text: &str, at: usize) -> usize {
    text.get(..at).unwrap_or(text).matches('\n').count()
}
