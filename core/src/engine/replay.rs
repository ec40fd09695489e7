//! What a decision was made from, kept so that it can be made once more.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::decide::{DecideContext, Decision, decide};
use super::project::{Desired, project};
use super::{
    Agreed, Attempt, DeadLetter, Fingerprinter, GuardLimits, LinkId, Prints, PrivateRule, Row,
    Rules, SinkView, SourceView,
};
use crate::connector::SinkCapabilities;
use crate::model::{Content, EventKey, Field, FieldSet, Window};

/// All that `project` and `decide` were given. Of content it holds what says when and whether somebody is busy: inputs are
/// kept longer than texts may be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Inputs {
    /// What the source was last seen to hold; none: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<SourceView>,
    /// What the sink was believed to hold.
    pub sink: SinkView,
    /// What was last agreed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agreed: Option<Agreed>,
    /// A write that may have been sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<Attempt>,
    /// A write that was refused for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead: Option<DeadLetter>,
    /// The event key.
    pub key: EventKey,
    /// The texts in which what was desired differed from what was agreed; a replay does not see them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub texts: Vec<Field>,
    sync: String,
    to: String,
    window: Window,
    today: Date,
    first_day: Date,
    zone: Option<String>,
    wall_clock: Option<String>,
    fields: FieldSet,
    private: PrivateRule,
    basis: String,
    idempotent_upsert: bool,
    probe: bool,
    now: Timestamp,
}

impl Inputs {
    /// What a decision about `row` is made from.
    #[must_use]
    pub fn of(
        row: &Row,
        desired: &Desired,
        rules: &Rules,
        sink: &SinkCapabilities,
        context: &DecideContext<'_>,
    ) -> Self {
        let kept = kept();
        let mut source = row.source.clone();
        if let Some(view) = &mut source {
            view.event.content = view.event.content.only(&kept);
        }
        let mut held = row.sink.clone();
        held.content = held.content.map(|content| content.only(&kept));
        let name = |zone: &TimeZone| zone.iana_name().map(str::to_owned);
        Self {
            source,
            sink: held,
            agreed: row.agreed.as_ref().map(|agreed| Agreed {
                source: only(&agreed.source),
                sink: only(&agreed.sink),
            }),
            attempt: row.attempt.clone().map(|attempt| Attempt {
                target: attempt.target.as_ref().map(only),
                ..attempt
            }),
            dead: row.dead.clone().map(|dead| DeadLetter {
                desired: dead.desired.as_ref().map(only),
                ..dead
            }),
            key: row.key.clone(),
            texts: texts(row, desired, context),
            sync: rules.sync.clone(),
            to: rules.sink.clone(),
            window: rules.window,
            today: rules.today,
            first_day: rules.first_day,
            zone: name(&rules.zone),
            wall_clock: rules.wall_clock.as_ref().and_then(name),
            fields: rules.fields.clone(),
            private: rules.private,
            basis: context.basis.to_owned(),
            idempotent_upsert: sink.idempotent_upsert,
            probe: sink.probe,
            now: context.now,
        }
    }

    /// Makes the decision once more, by this version's rules and tables. `prints` must be those of the store that kept
    /// the inputs.
    #[must_use]
    pub fn replay(&self, prints: &Fingerprinter) -> (Desired, Decision) {
        let zone =
            |name: &Option<String>| name.as_deref().and_then(|name| TimeZone::get(name).ok());
        let rules = Rules {
            sync: self.sync.clone(),
            sink: self.to.clone(),
            window: self.window,
            today: self.today,
            first_day: self.first_day,
            zone: zone(&self.zone).unwrap_or(TimeZone::UTC),
            wall_clock: zone(&self.wall_clock),
            fields: kept_of(&self.fields),
            private: self.private,
            guard: GuardLimits::default(),
        };
        let row = Row {
            source: self.source.clone(),
            sink: self.sink.clone(),
            agreed: self.agreed.clone(),
            attempt: self.attempt.clone(),
            dead: self.dead.clone(),
            ..Row::new(LinkId(0), self.key.clone(), 0)
        };
        let context = DecideContext {
            prints,
            wall_clock: rules.wall_clock.as_ref(),
            zone: &rules.zone,
            first_day: rules.window_day(),
            basis: &self.basis,
            idempotent_upsert: self.idempotent_upsert,
            probe: self.probe,
            now: self.now,
        };
        let desired = project(row.source.as_ref(), &rules);
        let decision = decide(&row, &desired, &context);
        (desired, decision)
    }
}

/// The fields that are no texts.
fn kept() -> FieldSet {
    FieldSet::from_iter([Field::Time, Field::ShowAs, Field::Private])
}

fn kept_of(fields: &FieldSet) -> FieldSet {
    let kept = kept();
    fields
        .iter()
        .filter(|field| kept.contains(*field))
        .collect()
}

fn only(prints: &Prints) -> Prints {
    let kept = kept();
    Prints {
        version: prints.version,
        fields: prints
            .fields
            .iter()
            .filter(|(field, _)| kept.contains(**field))
            .map(|(field, print)| (*field, print.clone()))
            .collect(),
    }
}

/// The texts in which what is desired is not what was agreed.
fn texts(row: &Row, desired: &Desired, context: &DecideContext<'_>) -> Vec<Field> {
    let content: Option<&Content> = match desired {
        Desired::Present { content, .. } | Desired::Past { content } => Some(content),
        Desired::Absent { .. } => None,
    };
    let (Some(content), Some(agreed)) = (content, &row.agreed) else {
        return Vec::new();
    };
    let kept = kept();
    let now = super::decide::print(content, context);
    agreed
        .source
        .differing(&now)
        .into_iter()
        .filter(|field| !kept.contains(*field))
        .collect()
}
