//! Durations as people write them.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::SignedDuration;
use jiff::fmt::friendly::{Designator, Spacing, SpanPrinter};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A positive duration, written `60 s`, `2 min` or `1 h 30 min` (or as ISO 8601, `PT60S`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct HumanDuration(Duration);

impl HumanDuration {
    /// So many seconds; at least one.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        Self(Duration::from_secs(if seconds == 0 { 1 } else { seconds }))
    }

    /// The duration.
    #[must_use]
    pub const fn get(self) -> Duration {
        self.0
    }
}

/// Why a text is no duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a duration above zero; write for example `60 s`, `2 min` or `1 h 30 min`")]
pub struct NotADuration;

impl FromStr for HumanDuration {
    type Err = NotADuration;

    fn from_str(text: &str) -> Result<Self, NotADuration> {
        let signed: SignedDuration = text.trim().parse().map_err(|_| NotADuration)?;
        match Duration::try_from(signed) {
            Ok(duration) if !duration.is_zero() => Ok(Self(duration)),
            _ => Err(NotADuration),
        }
    }
}

impl fmt::Display for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let printer = SpanPrinter::new()
            .designator(Designator::Short)
            .spacing(Spacing::BetweenUnitsAndDesignators);
        f.write_str(&printer.unsigned_duration_to_string(&self.0))
    }
}

impl fmt::Debug for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Serialize for HumanDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HumanDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<'de, str>::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for HumanDuration {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "HumanDuration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "examples": ["60 s", "2 min", "1 h 30 min"] })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, seconds) in [
            ("60 s", 60),
            ("60s", 60),
            ("2 min", 120),
            ("1 h 30 min", 5400),
            ("PT60S", 60),
        ] {
            let read: HumanDuration = text.parse().unwrap();
            assert_eq!(read.get().as_secs(), seconds, "{text}");
            assert_eq!(read.to_string().parse::<HumanDuration>().unwrap(), read);
        }
        assert_eq!(HumanDuration::from_secs(90).to_string(), "1 min 30 secs");
    }

    #[test]
    fn nothing_negative_empty_or_without_unit_is_taken() {
        for text in ["", "60", "0 s", "-5 s", "soon"] {
            assert_eq!(text.parse::<HumanDuration>(), Err(NotADuration), "{text}");
        }
    }
}
