//! A Monday in November 2026, 08:00 Danish time, and what is needed to plan on it.

use calbridge_core::connector::{
    AttemptToken, ExternalIds, InventoryBounds, Op, Outcome, Sharing, SinkCapabilities,
    SourceCapabilities,
};
use calbridge_core::engine::decide::{DecideContext, Decision, Intent, decide};
use calbridge_core::engine::project::{Desired, project};
use calbridge_core::engine::{
    Fingerprinter, LinkId, OnSink, Row, Rules, RulesConfig, SourceView, ViewId, outcome,
};
use calbridge_core::model::{
    Content, Event, EventKey, EventTime, Field, FieldSet, ItemRef, ShowAs, SideRef,
};
use jiff::Timestamp;
use jiff::tz::TimeZone;

pub const UID: &str = "040000008200E00074C5B7101A82E00800000000AA";

pub fn now() -> Timestamp {
    at("2026-11-23 08:00")
}

pub fn copenhagen() -> TimeZone {
    TimeZone::get("Europe/Copenhagen").unwrap()
}

/// Danish wall clock to an instant.
pub fn at(wall: &str) -> Timestamp {
    let wall: jiff::civil::DateTime = wall.replace(' ', "T").parse().unwrap();
    wall.to_zoned(copenhagen()).unwrap().timestamp()
}

pub fn time(start: &str, end: &str) -> EventTime {
    EventTime::timed(at(start), at(end), None).unwrap()
}

pub fn all_day(start: &str, end: &str) -> EventTime {
    EventTime::all_day(start.parse().unwrap(), end.parse().unwrap()).unwrap()
}

pub fn source_capabilities() -> SourceCapabilities {
    SourceCapabilities {
        incremental: true,
        deletions: true,
        watch: false,
        own_write_delay_ms: 0,
        fields: [Field::Time, Field::ShowAs, Field::Subject, Field::Private]
            .into_iter()
            .collect(),
        max_in_flight: 4,
    }
}

/// Planner, as a sink.
pub fn planner() -> SinkCapabilities {
    SinkCapabilities {
        conditional_write: false,
        idempotent_upsert: true,
        inventory: Some(InventoryBounds::StartsIn),
        probe: false,
        sharing: Sharing::Exclusive,
        external_ids: ExternalIds::Chosen {
            separator: "$".to_owned(),
            zone: "Europe/Copenhagen".to_owned(),
            format: "%Y%m%d-%H%M%S".to_owned(),
        },
        wall_clock: Some("Europe/Copenhagen".to_owned()),
        fields: FieldSet::times(),
        max_batch: 15,
        max_in_flight: 3,
        own_write_delay_ms: 0,
    }
}

pub fn rules() -> Rules {
    rules_at(now())
}

pub fn rules_at(now: Timestamp) -> Rules {
    rules_config()
        .at(now, &source_capabilities(), &planner())
        .unwrap()
}

fn rules_config() -> RulesConfig {
    RulesConfig {
        sync: "jobcenter".to_owned(),
        sink: "planner".to_owned(),
        ..RulesConfig::default()
    }
}

pub fn prints() -> Fingerprinter {
    Fingerprinter::new([7; 32])
}

pub struct Planner {
    pub prints: Fingerprinter,
    pub rules: Rules,
    pub idempotent_upsert: bool,
    pub probe: bool,
    pub now: Timestamp,
}

impl Default for Planner {
    fn default() -> Self {
        Self {
            prints: prints(),
            rules: rules(),
            idempotent_upsert: true,
            probe: false,
            now: now(),
        }
    }
}

impl Planner {
    /// At another time.
    pub fn on(wall: &str) -> Self {
        Self {
            rules: rules_at(at(wall)),
            now: at(wall),
            ..Self::default()
        }
    }

    pub fn context(&self) -> DecideContext<'_> {
        DecideContext {
            prints: &self.prints,
            wall_clock: self.rules.wall_clock.as_ref(),
            zone: &self.rules.zone,
            first_day: self.rules.window_day(),
            basis: "rules and version",
            idempotent_upsert: self.idempotent_upsert,
            probe: self.probe,
            now: self.now,
        }
    }

    pub fn desired(&self, row: &Row) -> Desired {
        project(row.source.as_ref(), &self.rules)
    }

    pub fn decide(&self, row: &Row) -> Decision {
        decide(row, &self.desired(row), &self.context())
    }

    pub fn settle(&self, row: &Row, intent: &Intent, outcome: &Outcome) -> Row {
        let token = AttemptToken("token".to_owned());
        let begun = outcome::begin(row.clone(), intent, token, &self.context());
        outcome::settle(row, begun, intent, outcome, false, &self.context())
    }

    /// Decides, and answers the write as given.
    pub fn step(&self, row: &Row, outcome: &Outcome) -> Row {
        let decision = self.decide(row);
        self.settle(row, &decision.intent, outcome)
    }

    /// Decides, and answers the write as a sink that does all it is asked.
    pub fn done(&self, row: &Row) -> Row {
        let decision = self.decide(row);
        let outcome = Outcome::Done {
            remote: row.sink.remote.clone(),
            stored: None,
        };
        self.settle(row, &decision.intent, &outcome)
    }
}

pub fn event(time: EventTime) -> Event {
    let mut content = Content::times(time);
    content.show_as = Some(ShowAs::Busy);
    Event {
        key: EventKey::new(UID, None).unwrap(),
        item: ItemRef::new("item", None).unwrap(),
        group: None,
        content,
        cancelled: false,
        origin: None,
    }
}

pub fn shown(mut event: Event, show_as: ShowAs) -> Event {
    event.content.show_as = Some(show_as);
    event
}

pub fn cancelled(mut event: Event) -> Event {
    event.cancelled = true;
    event
}

/// A row for an event that the sink has never heard of.
pub fn unknown(event: Event) -> Row {
    let mut row = Row::new(LinkId(1), event.key.clone(), 0);
    row.sink.remote = Some(SideRef::new(event.key.uid()).unwrap());
    with(row, Some(event))
}

/// The row with another source view.
pub fn with(mut row: Row, event: Option<Event>) -> Row {
    row.source = event.map(|event| SourceView {
        id: ViewId(1),
        event,
        ordinal: 0,
    });
    row
}

/// A row whose record the sink acknowledged with this time, when that was still ahead.
pub fn known(time: EventTime) -> Row {
    let mut planner = Planner::default();
    let (start, _) = time.span_in(&copenhagen());
    planner.now = start
        .checked_sub(jiff::SignedDuration::from_hours(72))
        .unwrap();
    planner.rules = rules_config()
        .at(planner.now, &source_capabilities(), &self::planner())
        .unwrap();
    let row = planner.done(&unknown(event(time)));
    assert_eq!(row.sink.state, OnSink::Present);
    row
}

/// A row whose record was written and deleted again.
pub fn deleted(time: EventTime) -> Row {
    let planner = Planner::default();
    let row = planner.done(&with(known(time), None));
    assert_eq!(row.sink.state, OnSink::Absent);
    row
}

pub fn op(decision: &Decision) -> Option<Op> {
    decision.intent.op()
}
