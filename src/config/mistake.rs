//! Mistakes in the configuration: where, what, and what would be right. All of them at once.

use std::fmt;
use std::path::PathBuf;

/// Where a mistake stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    /// In a file; line and column count from 1, in characters. Without them: the file as a whole.
    File {
        path: PathBuf,
        at: Option<(usize, usize)>,
    },
    /// In an environment variable.
    Environment(String),
    /// In a `--set` option, named by its key.
    Set(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, at: None } => write!(f, "{}", path.display()),
            Self::File {
                path,
                at: Some((line, column)),
            } => write!(f, "{}:{line}:{column}", path.display()),
            Self::Environment(name) => write!(f, "environment variable {name}"),
            Self::Set(key) => write!(f, "option --set {key}=..."),
        }
    }
}

/// One mistake. Its text never repeats a value that may be a secret.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Mistake {
    /// Where.
    pub(crate) place: Option<Place>,
    /// The key path; empty for the file as a whole.
    pub(crate) key: String,
    /// What is wrong.
    pub(crate) message: String,
    /// What would be right.
    pub(crate) help: Option<String>,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        if !self.key.is_empty() {
            write!(f, "`{}`: ", self.key)?;
        }
        f.write_str(&self.message)?;
        if let Some(help) = &self.help {
            write!(f, "\n    {help}")?;
        }
        Ok(())
    }
}

/// Why the configuration cannot be used: every mistake that was found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) struct ConfigError {
    /// In the order of their places, none twice.
    pub(crate) mistakes: Vec<Mistake>,
}

impl ConfigError {
    pub(crate) fn new(mut mistakes: Vec<Mistake>) -> Self {
        mistakes.sort();
        mistakes.dedup();
        Self { mistakes }
    }

    /// A mistake that concerns no single key.
    pub(crate) fn general(place: Option<Place>, message: String, help: Option<String>) -> Self {
        Self {
            mistakes: vec![Mistake {
                place,
                key: String::new(),
                message,
                help,
            }],
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mistakes.as_slice() {
            [only] => write!(f, "the configuration has a mistake\n  {only}"),
            mistakes => {
                write!(f, "the configuration has {} mistakes", mistakes.len())?;
                for mistake in mistakes {
                    write!(f, "\n  {mistake}")?;
                }
                Ok(())
            }
        }
    }
}

/// The allowed name that was most probably meant.
pub(crate) fn nearest<'a>(
    wrong: &str,
    allowed: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let folded = wrong.to_lowercase().replace('-', "_");
    allowed
        .into_iter()
        .map(|name| {
            let other = name.to_lowercase().replace('-', "_");
            (distance(&folded, &other), name)
        })
        .filter(|(distance, name)| *distance <= name.chars().count().saturating_add(1) / 3)
        .min()
        .map(|(_, name)| name)
}

/// "did you mean `x`?", or the list of what is allowed.
pub(crate) fn suggest(wrong: &str, allowed: &[&str]) -> Option<String> {
    match nearest(wrong, allowed.iter().copied()) {
        Some(name) => Some(format!("did you mean `{name}`?")),
        None if allowed.is_empty() => None,
        None => Some(format!("allowed: {}", list(allowed))),
    }
}

pub(crate) fn list(names: &[&str]) -> String {
    names
        .iter()
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ")
}

/// How many letters must be inserted, dropped, changed or swapped with their neighbour (optimal string
/// alignment).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    let mut last = None;
    for (i, ca) in a.chars().enumerate() {
        let mut row = vec![i + 1];
        let mut left = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let at = |row: &[usize], j: usize| row.get(j).copied().unwrap_or(usize::MAX - 1);
            let mut best = (at(&above, j) + usize::from(ca != *cb))
                .min(at(&above, j + 1) + 1)
                .min(left + 1);
            let swapped = j > 0 && last == Some(*cb) && b.get(j - 1) == Some(&ca);
            if swapped && i > 0 {
                best = best.min(at(&before, j - 1) + 1);
            }
            row.push(best);
            left = best;
        }
        before = above;
        above = row;
        last = Some(ca);
    }
    above.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (a, b, expected) in [
            ("", "", 0),
            ("url", "url", 0),
            ("ulr", "url", 1),
            ("pasword", "password", 1),
            ("source", "sink", 5),
            ("", "abc", 3),
        ] {
            assert_eq!(distance(a, b), expected, "{a} {b}");
            assert_eq!(distance(b, a), expected, "{b} {a}");
        }
    }

    #[test]
    fn a_typo_names_what_was_meant_and_anything_else_the_list() {
        assert_eq!(
            suggest("calender", &["calendar", "url"]).unwrap(),
            "did you mean `calendar`?"
        );
        assert_eq!(
            suggest("certificate", &["url", "auth"]).unwrap(),
            "allowed: `url`, `auth`"
        );
    }
}
