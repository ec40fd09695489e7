//! Tables of records, and how two of them differ.

use std::collections::BTreeMap;

use calbridge_sandbox::planner::{Content, Record};
use jiff::civil::DateTime;
use serde::Serialize;

use super::failed;
use crate::error::AppError;

/// One record: whose, its id, when. Danish wall clock.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct Line {
    pub(super) mailbox: String,
    pub(super) id: String,
    pub(super) start: DateTime,
    pub(super) end: DateTime,
}

/// Records, sorted. A record that is there twice stands there twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Table(Vec<Line>);

/// How what is there differs from what is expected.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Difference {
    /// Expected and not there.
    pub(super) missing: Vec<Line>,
    /// There and not expected.
    pub(super) unexpected: Vec<Line>,
}

impl Difference {
    pub(super) fn is_none(&self) -> bool {
        self.missing.is_empty() && self.unexpected.is_empty()
    }
}

impl Table {
    /// Reads lines of mailbox, id, start and end, separated by tabs.
    ///
    /// # Errors
    /// A line that is none.
    pub(super) fn parse(text: &str) -> Result<Self, AppError> {
        let mut lines = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let fields: Vec<&str> = line.split('\t').collect();
            let [mailbox, id, start, end] = fields.as_slice() else {
                return Err(failed(format!(
                    "line {} of a table has no four fields",
                    number + 1
                )));
            };
            lines.push(Line {
                mailbox: (*mailbox).to_owned(),
                id: (*id).to_owned(),
                start: start.parse().map_err(failed)?,
                end: end.parse().map_err(failed)?,
            });
        }
        lines.sort();
        Ok(Self(lines))
    }

    /// What Planner holds.
    pub(super) fn of(content: Content) -> Self {
        let line = |record: Record| Line {
            mailbox: record.mailbox,
            id: record.id,
            start: record.start,
            end: record.end,
        };
        let mut lines: Vec<Line> = content.0.into_iter().map(line).collect();
        lines.sort();
        Self(lines)
    }

    pub(super) fn lines(&self) -> &[Line] {
        &self.0
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// How many records of a mailbox there are.
    pub(super) fn count(&self, mailbox: &str) -> usize {
        self.0.iter().filter(|line| line.mailbox == mailbox).count()
    }

    /// How `self` differs from what is expected.
    pub(super) fn compare(&self, expected: &Self) -> Difference {
        let mut balance: BTreeMap<&Line, i64> = BTreeMap::new();
        for line in &expected.0 {
            *balance.entry(line).or_default() -= 1;
        }
        for line in &self.0 {
            *balance.entry(line).or_default() += 1;
        }
        let mut difference = Difference::default();
        for (line, count) in balance {
            let side = if count < 0 {
                &mut difference.missing
            } else {
                &mut difference.unexpected
            };
            for _ in 0..count.unsigned_abs() {
                side.push(line.clone());
            }
        }
        difference
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const TWO: &str = "a@x.example\t1\t2026-12-01T09:00:00\t2026-12-01T10:00:00\n\
                       b@x.example\t2\t2026-12-01T09:00:00\t2026-12-01T10:00:00\n";

    fn table(text: &str) -> Table {
        Table::parse(text).unwrap()
    }

    #[test]
    fn equal_tables_do_not_differ_whatever_their_order() {
        let turned: Vec<&str> = TWO.lines().rev().collect();
        assert!(table(&turned.join("\n")).compare(&table(TWO)).is_none());
    }

    #[test]
    fn a_lost_a_doubled_and_a_shifted_record_are_told() {
        let lost = table(TWO.lines().next().unwrap()).compare(&table(TWO));
        assert_eq!((lost.missing.len(), lost.unexpected.len()), (1, 0));
        let twice = table(&format!("{TWO}{}", TWO.lines().next().unwrap())).compare(&table(TWO));
        assert_eq!((twice.missing.len(), twice.unexpected.len()), (0, 1));
        let shifted = TWO.replacen("T09:00:00", "T09:30:00", 1);
        let shifted = table(&shifted).compare(&table(TWO));
        assert_eq!((shifted.missing.len(), shifted.unexpected.len()), (1, 1));
    }

    #[test]
    fn what_is_no_table_is_refused() {
        for wrong in ["a\tb", "a\tb\tc\td", "\n"] {
            assert!(Table::parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
