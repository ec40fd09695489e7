//! GetServerTimeZones.

use crate::exchange::soap::{EwsError, Outcome, answer, failure, success};
use crate::exchange::xml::Element;
use crate::exchange::zone::{WINDOWS_IDS, Zone};

/// The year whose rules the definitions give.
const RULES_OF: i16 = 2026;

/// EWS GetServerTimeZones.
pub(super) fn get_server_time_zones(request: &Element) -> Outcome {
    let full = request
        .get("ReturnFullTimeZoneData")
        .is_none_or(|text| matches!(text, "true" | "1"));
    let zones: Option<Vec<Zone>> = match request.child("m:Ids") {
        Some(ids) => ids
            .children
            .iter()
            .map(|id| Zone::find(id.text.trim()))
            .collect(),
        None => Some(WINDOWS_IDS.iter().filter_map(|id| Zone::find(id)).collect()),
    };
    let Some(zones) = zones else {
        let error = EwsError::new(
            "ErrorTimeZone",
            "A time zone id is not known to the server.",
        );
        let message =
            failure("GetServerTimeZones", &error).with(Element::new("m:TimeZoneDefinitions"));
        return Outcome::Answer(answer("GetServerTimeZones", [message]));
    };
    let definitions = zones.iter().map(|zone| {
        if full {
            zone.definition("t:TimeZoneDefinition", RULES_OF)
        } else {
            Element::new("t:TimeZoneDefinition")
                .attr("Id", zone.id())
                .attr("Name", zone.name())
        }
    });
    let list = Element::new("m:TimeZoneDefinitions").with_all(definitions.collect::<Vec<_>>());
    Outcome::Answer(answer(
        "GetServerTimeZones",
        [success("GetServerTimeZones", [list])],
    ))
}
