//! The mark that calbridge leaves on what it writes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ModelError;

/// Says which sync wrote a record, where its event came from, and which row it stands for. A system that can keep a
/// text beside a record keeps [`Origin::as_text`]; whoever reads it gives it back.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct Origin {
    /// The sync's name.
    pub sync: String,
    /// The name of the connection that the event was read from.
    pub from: String,
    /// The row's number in the sync.
    pub link: i64,
}

/// How a mark begins; the number is its form's version.
const PREFIX: &str = "calbridge:1";

impl Origin {
    /// The mark as text: `calbridge:1:LINK:FROM:SYNC`, with `%` and `:` in names written as `%25` and `%3A`.
    #[must_use]
    pub fn as_text(&self) -> String {
        let escaped = |name: &str| name.replace('%', "%25").replace(':', "%3A");
        format!(
            "{PREFIX}:{}:{}:{}",
            self.link,
            escaped(&self.from),
            escaped(&self.sync)
        )
    }

    /// Reads a mark.
    ///
    /// # Errors
    /// [`ModelError::BadOrigin`] for a text that is no mark of ours; what carries it is somebody else's.
    pub fn parse(text: &str) -> Result<Self, ModelError> {
        let plain = |name: &str| name.replace("%3A", ":").replace("%25", "%");
        let mut parts = text
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.strip_prefix(':'))
            .ok_or(ModelError::BadOrigin)?
            .split(':');
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(link), Some(from), Some(sync), None) => Ok(Self {
                sync: plain(sync),
                from: plain(from),
                link: link.parse().map_err(|_| ModelError::BadOrigin)?,
            }),
            _ => Err(ModelError::BadOrigin),
        }
    }
}

impl TryFrom<String> for Origin {
    type Error = ModelError;
    fn try_from(text: String) -> Result<Self, ModelError> {
        Self::parse(&text)
    }
}

impl From<Origin> for String {
    fn from(origin: Origin) -> Self {
        origin.as_text()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_as_it_was_written() {
        let mark = Origin {
            sync: "50%: \u{e6}\u{f8}\u{e5} %3A".to_owned(),
            from: "exchange".to_owned(),
            link: 17,
        };
        assert_eq!(Origin::parse(&mark.as_text()).unwrap(), mark);
        let json = serde_json::to_string(&mark).unwrap();
        assert_eq!(serde_json::from_str::<Origin>(&json).unwrap(), mark);
    }

    #[test]
    fn what_is_no_mark_of_ours_is_refused() {
        for text in [
            "",
            "link 5",
            "calbridge:1",
            "calbridge:2:1:a:b",
            "calbridge:1:x:a:b",
            "calbridge:1:1:a:b:c",
        ] {
            assert_eq!(Origin::parse(text), Err(ModelError::BadOrigin), "{text}");
        }
    }
}
