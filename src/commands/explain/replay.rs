//! What was decided before, in words, and whether this version would decide the same.

use calbridge_core::engine::decide::{Decision, Intent};
use calbridge_core::engine::{Fingerprinter, Inputs, OnSink};
use calbridge_core::model::{Content, Field, ShowAs};
use calbridge_core::store::DecisionRecord;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::super::words;
use super::events::next;

/// A decision of the past.
#[derive(Serialize)]
pub(super) struct Past {
    /// When.
    at: String,
    /// What was decided.
    decided: String,
    /// Why.
    why: String,
    /// What became of it; absent: it was not sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<String>,
    /// What it was made from.
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<From>,
}

/// What a decision was made from.
#[derive(Serialize)]
struct From {
    /// What the source held.
    source: String,
    /// What the other side was believed to hold.
    sink: String,
    /// Fields whose text had changed.
    texts: Vec<Field>,
    /// What this version makes of the same; absent: the same as then.
    #[serde(skip_serializing_if = "Option::is_none")]
    now: Option<String>,
}

impl Past {
    pub(super) fn of(record: &DecisionRecord, zone: &TimeZone, prints: &Fingerprinter) -> Self {
        Self {
            at: words::at(record.at, zone),
            decided: next(&record.decision.intent).to_owned(),
            why: words::reason(record.decision.reason).to_owned(),
            outcome: record.outcome.clone(),
            from: record.inputs.as_ref().map(|inputs| From {
                source: source(inputs, zone),
                sink: sink(inputs, zone),
                texts: inputs.texts.clone(),
                now: otherwise(inputs, &record.decision, prints),
            }),
        }
    }

    /// As one sentence.
    pub(super) fn text(&self) -> String {
        let mut text = format!("{} {}, because {}", self.at, self.decided, self.why);
        if let Some(from) = &self.from {
            text.push_str(&format!(
                " (the source held {}, the other side {})",
                from.source, from.sink
            ));
            if let Some(now) = &from.now {
                text.push_str(&format!("; this version would decide otherwise: {now}"));
            }
        }
        if let Some(outcome) = &self.outcome {
            text.push_str(&format!(": {outcome}"));
        }
        text
    }
}

fn source(inputs: &Inputs, zone: &TimeZone) -> String {
    let Some(view) = &inputs.source else {
        return "nothing".to_owned();
    };
    let mut text = content(&view.event.content, zone);
    if view.event.cancelled {
        text.push_str(", cancelled");
    }
    if view.event.content.show_as == Some(ShowAs::Free) {
        text.push_str(", shown as free");
    }
    if view.event.content.private == Some(true) {
        text.push_str(", private");
    }
    text
}

fn sink(inputs: &Inputs, zone: &TimeZone) -> String {
    let held = || {
        let held = inputs.sink.content.as_ref();
        held.map_or_else(|| "a record".to_owned(), |held| content(held, zone))
    };
    match inputs.sink.state {
        OnSink::Present => held(),
        OnSink::Absent => "nothing".to_owned(),
        OnSink::Unknown => format!("perhaps {}", held()),
    }
}

fn content(content: &Content, zone: &TimeZone) -> String {
    words::time(&content.time, zone)
}

/// What this version decides from the same inputs, where that is something else.
fn otherwise(inputs: &Inputs, then: &Decision, prints: &Fingerprinter) -> Option<String> {
    let (_, now) = inputs.replay(prints);
    let same = now.reason == then.reason && next(&now.intent) == next(&then.intent);
    // A text that changed is not kept, so a replay cannot see it.
    let blind = !inputs.texts.is_empty() && now.intent == Intent::Nothing;
    (!same && !blind).then(|| {
        format!(
            "{}, because {}",
            next(&now.intent),
            words::reason(now.reason)
        )
    })
}
