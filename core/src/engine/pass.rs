//! One pass over one calendar of one sync: pull, plan, apply, one after the other.

use std::sync::atomic::Ordering;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::plan::{self, Deletes, Plan};
use super::unit::{PassError, Unit};
use super::{Rules, pull};
use crate::connector::Op;

/// What a pass did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassReport {
    /// Events that the source reported.
    pub seen: u64,
    /// Events that were there and could not be described.
    pub unreadable: u64,
    /// Something of the calendar could not be described when it was last read completely, or since.
    #[serde(default)]
    pub unclear: bool,
    /// Records made.
    pub created: u64,
    /// Records changed.
    pub updated: u64,
    /// Records removed.
    pub deleted: u64,
    /// Records that were there and hold what they should.
    pub adopted: u64,
    /// Deletes that the guard holds.
    pub held: u64,
    /// Writes that were refused for good in this pass.
    pub rejected: u64,
    /// Events whose write was refused for good, now or earlier, and still is what should be.
    #[serde(default)]
    pub refused: u64,
    /// Writes that wait for another try.
    pub waiting: u64,
    /// Calls that were made to the sink.
    pub calls: u64,
    /// What the comparison of a calendar that is only observed found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub differences: Option<Differences>,
    /// Records of a sink that is ours alone which somebody else made or changed.
    #[serde(default)]
    pub others: u64,
    /// When the first waiting write is due.
    pub next: Option<Timestamp>,
}

/// What would be written, if the calendar were not only observed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Differences {
    /// Events that the sink lacks.
    pub missing: u64,
    /// Records that hold something else than their event.
    pub different: u64,
    /// Records that no event stands for.
    pub surplus: u64,
}

impl Differences {
    /// How many there are.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.missing + self.different + self.surplus
    }

    fn of(plan: &Plan) -> Self {
        let mut found = Self::default();
        for op in plan
            .decisions
            .iter()
            .filter_map(|decision| decision.intent.op())
        {
            match op {
                Op::Create => found.missing += 1,
                Op::Update => found.different += 1,
                Op::Delete => found.surplus += 1,
            }
        }
        found
    }
}

impl PassReport {
    /// Adds another report's counts.
    pub fn add(&mut self, other: &Self) {
        self.seen += other.seen;
        self.unreadable += other.unreadable;
        self.unclear |= other.unclear;
        self.created += other.created;
        self.updated += other.updated;
        self.deleted += other.deleted;
        self.adopted += other.adopted;
        self.held += other.held;
        self.rejected += other.rejected;
        self.refused += other.refused;
        self.waiting += other.waiting;
        self.calls += other.calls;
        self.others += other.others;
        self.differences = match (self.differences, other.differences) {
            (Some(a), Some(b)) => Some(Differences {
                missing: a.missing + b.missing,
                different: a.different + b.different,
                surplus: a.surplus + b.surplus,
            }),
            (a, b) => a.or(b),
        };
        self.next = match (self.next, other.next) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
    }
}

/// How often a pass plans anew because the sink held something else than was assumed.
const PLANS: u32 = 3;

/// Brings a calendar's sink in step with what is known of its source.
pub(super) async fn plan_and_apply(
    unit: &Unit<'_>,
    rules: &Rules,
    deletes: Deletes,
    report: &mut PassReport,
) -> Result<(), PassError> {
    // A plan is made from what is stored, and from this: while both are the same, it would find nothing to do again.
    let basis = (deletes == Deletes::Planned).then(|| basis(unit, rules));
    if let Some(basis) = &basis
        && unit
            .store
            .is_settled(&unit.sync.name, unit.calendar, basis)
            .await?
    {
        return Ok(());
    }
    for _ in 0..PLANS {
        let mut plan = Plan::make(unit, rules, deletes).await?;
        if plan.confirm(unit, rules).await? {
            plan = Plan::make(unit, rules, deletes).await?;
        }
        report.held = plan.schedule.held.len() as u64;
        report.refused = plan.dead_letters();
        report.waiting = plan.schedule.waiting as u64;
        report.next = plan.schedule.next;
        report.adopted += plan.note(unit, rules).await?;
        if plan.schedule.due.is_empty() {
            if let Some(basis) = basis.filter(|_| plan.is_settled()) {
                let (sync, source) = (&unit.sync.name, unit.source.name());
                let (fence, round) = (unit.fence, plan.round);
                unit.store
                    .settle(fence, sync, source, unit.calendar, round, &basis)
                    .await?;
            }
            break;
        }
        let conflicts = plan.apply(unit, rules, report).await?;
        if !conflicts {
            break;
        }
    }
    Ok(())
}

/// All that a plan depends on besides what is stored of the calendar. The rules hold the window, and so the day.
fn basis(unit: &Unit<'_>, rules: &Rules) -> String {
    let prints = unit.store.prints();
    let rules_and_sink = plan::basis(&unit.sync.rules(), unit.sink.version(), &prints);
    prints.text(&format!(
        "{} {rules_and_sink} {} {} {rules:?}",
        env!("CARGO_PKG_VERSION"),
        unit.source.name(),
        unit.withdrawn,
    ))
}

/// Whether the views are those of a round that ended well.
async fn may_deliver(unit: &Unit<'_>) -> Result<bool, PassError> {
    let state = unit.source_state().await?;
    Ok(!unit.touched.load(Ordering::Relaxed) && state.finished.is_some())
}

/// Compares a calendar with what the sink holds, and writes nothing.
async fn compare(unit: &Unit<'_>, rules: &Rules) -> Result<Differences, PassError> {
    let plan = Plan::make(unit, rules, Deletes::Planned).await?;
    let found = Differences::of(&plan);
    tracing::info!(
        sync = unit.sync.name,
        calendar = unit.handle,
        missing = found.missing,
        different = found.different,
        surplus = found.surplus,
        "A calendar that is only observed was compared; nothing is written."
    );
    Ok(found)
}

/// Reads a calendar, then brings the sink in step; one that is observed is only compared, if its sink was `listed`
/// just now.
pub(super) async fn pass(
    unit: &Unit<'_>,
    full: bool,
    listed: bool,
) -> (PassReport, Result<(), PassError>) {
    let mut report = PassReport::default();
    let done = async {
        unit.check_paused().await?;
        let mut trouble = None;
        if !unit.withdrawn {
            match pull::pull(unit, &unit.rules()?, full).await {
                Ok(pulled) => {
                    report.seen = pulled.seen;
                    report.unreadable = pulled.unreadable;
                    report.unclear = unit.source_state().await?.unreadable;
                }
                // What was read before is delivered all the same, unless the views are half read.
                Err(error @ PassError::Source(_)) if may_deliver(unit).await? => {
                    trouble = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
        let (rules, deletes) = match unit.planning()? {
            (rules, Deletes::Planned) if trouble.is_some() => (rules, Deletes::SourceUnclear),
            planning => planning,
        };
        match (unit.observed, listed) {
            (false, _) => plan_and_apply(unit, &rules, deletes, &mut report).await?,
            (true, true) if trouble.is_none() => {
                report.differences = Some(compare(unit, &rules).await?);
            }
            // What the sink held some time ago says nothing about what it should hold now.
            (true, _) => {}
        }
        trouble.map_or(Ok(()), Err)
    }
    .await;
    (report, done)
}
