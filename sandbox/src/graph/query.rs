//! Paths, queries and headers.

use http::HeaderMap;
use percent_encoding::percent_decode_str;

use super::error::GraphError;
use crate::exchange::Zone;

/// A query in its parts, decoded; names in the letter case that they were sent in.
#[derive(Debug, Clone, Default)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn read(text: &str) -> Self {
        Self(
            url::form_urlencoded::parse(text.as_bytes())
                .map(|(name, value)| (name.into_owned(), value.into_owned()))
                .collect(),
        )
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// A number from 1 to `most`.
    pub(super) fn count(&self, name: &str, most: usize) -> Result<Option<usize>, GraphError> {
        let Some(text) = self.get(name) else {
            return Ok(None);
        };
        let count = text.parse().ok().filter(|count| (1..=most).contains(count));
        count.map(Some).ok_or_else(|| {
            GraphError::new(
                400,
                "ErrorInvalidUrlQueryFilter",
                format!("Invalid value for {name}."),
            )
        })
    }

    /// The selected properties.
    pub(super) fn select(&self) -> Option<Vec<String>> {
        let names = self.get("$select")?;
        Some(
            names
                .split(',')
                .map(|name| name.trim().to_owned())
                .filter(|name| !name.is_empty())
                .collect(),
        )
    }
}

/// The parts of a path, decoded.
pub(super) fn parts(path: &str) -> Vec<String> {
    path.split('/')
        .filter(|part| !part.is_empty())
        .map(|part| percent_decode_str(part).decode_utf8_lossy().into_owned())
        .collect()
}

/// What the Prefer headers ask for.
#[derive(Debug, Clone)]
pub(super) struct Prefer {
    pub(super) immutable: bool,
    pub(super) zone: Zone,
    /// The zone's name as it was asked for.
    pub(super) zone_name: String,
    pub(super) text_bodies: bool,
    pub(super) page_size: Option<usize>,
}

impl Default for Prefer {
    fn default() -> Self {
        Self {
            immutable: false,
            zone: Zone::utc(),
            zone_name: "UTC".to_owned(),
            text_bodies: false,
            page_size: None,
        }
    }
}

impl Prefer {
    pub(super) fn read(headers: &HeaderMap) -> Result<Self, GraphError> {
        let mut prefer = Self::default();
        let values = headers.get_all("prefer");
        for part in values
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|text| text.split(','))
        {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let value = value.trim().trim_matches('"');
            match name.trim().to_ascii_lowercase().as_str() {
                "idtype" => prefer.immutable = value.eq_ignore_ascii_case("ImmutableId"),
                "outlook.timezone" => {
                    prefer.zone = Zone::find(value).ok_or_else(|| {
                        GraphError::new(
                            400,
                            "TimeZoneNotSupportedException",
                            format!("A valid TimeZone value must be specified. The following TimeZone value is not supported: '{value}'."),
                        )
                    })?;
                    prefer.zone_name = value.to_owned();
                }
                "outlook.body-content-type" => {
                    prefer.text_bodies = value.eq_ignore_ascii_case("text");
                }
                "odata.maxpagesize" => prefer.page_size = value.parse().ok(),
                _ => {}
            }
        }
        Ok(prefer)
    }

    /// The header that confirms what was followed.
    pub(super) fn applied(&self) -> String {
        format!("outlook.timezone=\"{}\"", self.zone_name)
    }
}
