//! The demo's data: who there is, what happens, and what must come out. All of it is linked into the program.

use jiff::Timestamp;
use jiff::civil::DateTime;
use serde::Deserialize;

use super::failed;
use super::table::Table;
use crate::error::AppError;

const SETUP: &str = include_str!("../../demo/setup.json");
const CHANGES: &str = include_str!("../../demo/changes.json");
const FIRST: &str = include_str!("../../demo/expected/first.tsv");
const CHANGED: &str = include_str!("../../demo/expected/changed.tsv");

macro_rules! seeds {
    ($($address:literal),* $(,)?) => {
        [$(($address, include_str!(concat!("../../demo/seeds/", $address, ".ics")))),*]
    };
}

/// The calendars by mailbox, as iCalendar files.
const SEEDS: [(&str, &str); 9] = seeds![
    "anna.berg@nordby.example",
    "bo.lund@nordby.example",
    "camilla.holm@nordby.example",
    "david.krogh@nordby.example",
    "emine.yildiz@nordby.example",
    "frederik.dahl@nordby.example",
    "gitte.moeller@nordby.example",
    "moedelokale.2@nordby.example",
    "samtalerum.1@nordby.example",
];

/// Everything.
#[derive(Debug)]
pub(super) struct Data {
    pub(super) setup: Setup,
    pub(super) changes: Vec<Change>,
    /// What Planner must hold after the first sync.
    pub(super) first: Table,
    /// What Planner must hold after the changes.
    pub(super) changed: Table,
}

/// Who there is, and when.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Setup {
    /// When the first sync takes place.
    pub(super) now: Timestamp,
    /// When the changes happen.
    pub(super) changed_at: Timestamp,
    /// Where times without a zone are local.
    pub(super) zone: String,
    /// How far ahead the window reaches.
    pub(super) future_months: u32,
    pub(super) jobcenter: String,
    pub(super) exchange: Vec<Mailbox>,
    pub(super) outlook_series: Vec<OutlookSeries>,
    pub(super) planner: PlannerSetup,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Mailbox {
    pub(super) name: String,
    pub(super) address: String,
    #[serde(default)]
    pub(super) room: bool,
}

/// A series that iCalendar cannot say: on a day that some months lack, where it is their last day.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OutlookSeries {
    pub(super) mailbox: String,
    pub(super) uid: String,
    pub(super) subject: String,
    pub(super) start: DateTime,
    pub(super) end: DateTime,
    pub(super) every_month_on_day: i8,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PlannerSetup {
    pub(super) resources: Vec<Mailbox>,
    /// Planner's own appointments, which lie in the mailboxes too.
    pub(super) own: Vec<PlannerRecord>,
    /// What a predecessor of calbridge left in Planner.
    pub(super) left_by_predecessor: Vec<PlannerRecord>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PlannerRecord {
    pub(super) mailbox: String,
    pub(super) id: String,
    pub(super) start: DateTime,
    pub(super) end: DateTime,
    #[serde(default)]
    pub(super) is: Option<Left>,
}

/// What a record of a predecessor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Left {
    /// Of an appointment that is long gone: to be deleted.
    Ghost,
    /// Right as it is: not to be written.
    Equal,
    /// With old times: to be corrected.
    Outdated,
}

/// Something that a user does in Outlook, in one or several mailboxes.
#[derive(Debug, Deserialize)]
pub(super) struct Change {
    /// What happens, in words.
    pub(super) say: String,
    pub(super) mailboxes: Vec<String>,
    pub(super) uid: String,
    #[serde(flatten)]
    pub(super) what: What,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub(super) enum What {
    /// A single appointment gets other times, and is no whole day any more.
    Move {
        start: DateTime,
        end: DateTime,
    },
    /// The organizer cancels it.
    Cancel,
    Free,
    Busy,
    /// It goes to Deleted Items. `was`: the one of several with this UID that begins then.
    Delete {
        #[serde(default)]
        was: Option<DateTime>,
    },
    Create {
        subject: String,
        start: DateTime,
        end: DateTime,
    },
    /// One occurrence, named by where the rule had put it.
    MoveOccurrence {
        occurrence: DateTime,
        start: DateTime,
        end: DateTime,
    },
    DeleteOccurrence {
        occurrence: DateTime,
    },
    /// A whole weekly series gets another time of day.
    Reschedule {
        start: DateTime,
        end: DateTime,
        weekly_on: Vec<String>,
        count: u32,
    },
}

impl Data {
    /// Reads what is linked in.
    ///
    /// # Errors
    /// The data does not fit this program; its tests see to it that it does.
    pub(super) fn load() -> Result<Self, AppError> {
        Ok(Self {
            setup: serde_json::from_str(SETUP).map_err(failed)?,
            changes: serde_json::from_str(CHANGES).map_err(failed)?,
            first: Table::parse(FIRST)?,
            changed: Table::parse(CHANGED)?,
        })
    }

    /// The calendar of a mailbox.
    pub(super) fn seed(address: &str) -> Option<&'static str> {
        SEEDS
            .iter()
            .find(|(of, _)| *of == address)
            .map(|(_, text)| *text)
    }

    /// The name of a mailbox for people.
    pub(super) fn name<'a>(&'a self, address: &'a str) -> &'a str {
        let listed = self.setup.exchange.iter();
        listed
            .chain(&self.setup.planner.resources)
            .find(|mailbox| mailbox.address.eq_ignore_ascii_case(address))
            .map_or(address, |mailbox| &mailbox.name)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_data_fits_together() {
        let data = Data::load().unwrap();
        assert_eq!(SEEDS.len(), data.setup.exchange.len());
        for mailbox in &data.setup.exchange {
            assert!(Data::seed(&mailbox.address).is_some(), "{}", mailbox.name);
        }
        let there = |address: &str| {
            let mut all = data.setup.exchange.iter();
            all.any(|mailbox| mailbox.address == address)
        };
        for change in &data.changes {
            assert!(change.mailboxes.iter().all(|a| there(a)), "{}", change.say);
        }
        assert!(data.first.len() > 100 && data.changed.len() > 100);
        assert_ne!(data.first, data.changed);
    }
}
