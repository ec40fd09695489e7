//! Half-open ranges of time, and what of them is known.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ModelError;

/// The half-open range `[start, end)` of instants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "RawWindow")]
pub struct Window {
    #[schemars(with = "String")]
    start: Timestamp,
    #[schemars(with = "String")]
    end: Timestamp,
}

#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "Window")]
struct RawWindow {
    #[schemars(with = "String")]
    start: Timestamp,
    #[schemars(with = "String")]
    end: Timestamp,
}

impl TryFrom<RawWindow> for Window {
    type Error = ModelError;
    fn try_from(raw: RawWindow) -> Result<Self, ModelError> {
        Self::new(raw.start, raw.end)
    }
}

impl Window {
    /// # Errors
    /// [`ModelError::EndBeforeStart`] unless `start < end`.
    pub fn new(start: Timestamp, end: Timestamp) -> Result<Self, ModelError> {
        if start < end {
            Ok(Self { start, end })
        } else {
            Err(ModelError::EndBeforeStart)
        }
    }

    /// The first instant that belongs to the window.
    #[must_use]
    pub fn start(&self) -> Timestamp {
        self.start
    }

    /// The first instant that no longer belongs to the window.
    #[must_use]
    pub fn end(&self) -> Timestamp {
        self.end
    }

    /// Whether the instant lies inside.
    #[must_use]
    pub fn contains(&self, at: Timestamp) -> bool {
        self.start <= at && at < self.end
    }

    /// Whether `[start, end)` and the window have an instant in common; an event without duration counts as
    /// its start.
    #[must_use]
    pub fn overlaps(&self, start: Timestamp, end: Timestamp) -> bool {
        if start == end {
            self.contains(start)
        } else {
            start < self.end && self.start < end
        }
    }

    /// The smallest window that holds both.
    #[must_use]
    pub fn hull(&self, other: &Self) -> Self {
        Self {
            start: self.start.min(other.start),
            end: self.end.max(other.end),
        }
    }

    /// What both have in common.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Option<Self> {
        Self::new(self.start.max(other.start), self.end.min(other.end)).ok()
    }
}

/// Which ranges of a calendar have been read completely: disjoint windows in order.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Coverage(Vec<Window>);

impl Coverage {
    /// Nothing is known.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// The disjoint windows, in order.
    #[must_use]
    pub fn windows(&self) -> &[Window] {
        &self.0
    }

    /// Whether nothing is covered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a window, joining what touches it.
    pub fn add(&mut self, window: Window) {
        let mut joined = window;
        self.0.retain(|known| {
            let touches = known.start <= joined.end && joined.start <= known.end;
            if touches {
                joined = joined.hull(known);
            }
            !touches
        });
        let at = self.0.partition_point(|known| known.start < joined.start);
        self.0.insert(at, joined);
    }

    /// Forgets everything outside `window`.
    pub fn clip(&mut self, window: Window) {
        self.0 = self
            .0
            .iter()
            .filter_map(|known| known.intersection(&window))
            .collect();
    }

    /// Whether all of `window` is covered.
    #[must_use]
    pub fn covers(&self, window: Window) -> bool {
        self.missing(window).is_empty()
    }

    /// The parts of `window` that are not covered, in order.
    #[must_use]
    pub fn missing(&self, window: Window) -> Vec<Window> {
        let mut gaps = Vec::new();
        let mut from = window.start;
        for known in &self.0 {
            if known.end <= from {
                continue;
            }
            if known.start >= window.end {
                break;
            }
            if let Ok(gap) = Window::new(from, known.start.min(window.end)) {
                gaps.push(gap);
            }
            from = from.max(known.end);
        }
        if let Ok(gap) = Window::new(from, window.end) {
            gaps.push(gap);
        }
        gaps
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn w(start: i64, end: i64) -> Window {
        Window::new(
            Timestamp::from_second(start).unwrap(),
            Timestamp::from_second(end).unwrap(),
        )
        .unwrap()
    }

    #[test]
    fn an_empty_or_reversed_window_is_refused() {
        let at = Timestamp::UNIX_EPOCH;
        assert_eq!(Window::new(at, at), Err(ModelError::EndBeforeStart));
    }

    #[test]
    fn coverage_joins_what_touches_and_tells_the_gaps() {
        let mut coverage = Coverage::none();
        coverage.add(w(10, 20));
        coverage.add(w(30, 40));
        assert_eq!(coverage.missing(w(0, 50)), [w(0, 10), w(20, 30), w(40, 50)]);
        coverage.add(w(20, 30));
        assert_eq!(coverage.windows(), [w(10, 40)]);
        assert!(coverage.covers(w(10, 40)));
        assert!(!coverage.covers(w(9, 40)));
        coverage.clip(w(15, 60));
        assert_eq!(coverage.windows(), [w(15, 40)]);
    }

    #[test]
    fn an_event_that_touches_the_edge_does_not_overlap() {
        let t = |s| Timestamp::from_second(s).unwrap();
        assert!(!w(10, 20).overlaps(t(5), t(10)));
        assert!(!w(10, 20).overlaps(t(20), t(25)));
        assert!(w(10, 20).overlaps(t(10), t(10)));
        assert!(w(10, 20).overlaps(t(5), t(11)));
    }
}
