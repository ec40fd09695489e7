//! Random histories of rounds, compared with a plain model of what the verbs mean.

use std::collections::BTreeSet;

use calbridge_core::engine::identity::Pair;
use calbridge_core::engine::{SourceView, ViewId};
use calbridge_core::model::{Event, EventKey, EventTime, GroupRef, OriginalStart, Window};
use calbridge_core::store::{RoundChanges, ViewChange};
use jiff::SignedDuration;
use jiff::tz::TimeZone;
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

use crate::support::{Fixture, at, event, ids, instant, item, row_for, timed, window};

#[derive(Debug, Clone)]
enum Step {
    Begin,
    Page(Vec<ViewChange>),
    /// Asks what the round brought, given these ranges.
    Ask(Vec<Window>),
    /// Ends the round: the n-th vanished is paired with the n-th appeared as the bits say, the others go if
    /// the bits say so.
    Finish(Vec<Window>, u32),
    /// Gives rows to the views whose bit is set.
    Link(u32),
}

fn day(number: i8) -> jiff::civil::Date {
    jiff::civil::date(2026, 3, number)
}

fn times() -> impl Strategy<Value = EventTime> {
    prop_oneof![
        (1_u32..9, 0_u32..24).prop_map(|(day, hour)| timed(
            &format!("2026-03-{day:02}T{hour:02}:00:00Z"),
            &format!("2026-03-{day:02}T{hour:02}:30:00Z"),
        )),
        (1_u32..9).prop_map(|day| {
            let midnight = format!("2026-03-{day:02}T00:00:00Z");
            timed(&midnight, &midnight)
        }),
        (1_i8..9, 1_i8..3).prop_map(|(first, days)| EventTime::all_day(
            day(first),
            day(first + days)
        )
        .unwrap()),
    ]
}

fn windows() -> impl Strategy<Value = Window> {
    (0_u32..200, 1_u32..100).prop_map(|(from, hours)| {
        let start = instant("2026-03-01T00:00:00Z") + SignedDuration::from_hours(from.into());
        Window::new(start, start + SignedDuration::from_hours(hours.into())).unwrap()
    })
}

fn events() -> impl Strategy<Value = Event> {
    let original = prop_oneof![
        Just(None),
        (1_i8..4).prop_map(|number| Some(OriginalStart::Date(day(number)))),
        (1_u32..4).prop_map(|number| Some(OriginalStart::Instant(instant(&format!(
            "2026-03-{number:02}T09:00:00Z"
        ))))),
    ];
    let group = proptest::option::of(prop_oneof![Just("g"), Just("h")]);
    let names = prop_oneof![Just("a"), Just("ab"), Just("b")];
    (names, 0_u8..5, original, group, times(), any::<bool>()).prop_map(
        |(uid, item, original, group, time, cancelled)| {
            let mut event = at(event(uid, &format!("i{item}")), time);
            event.key = EventKey::new(uid, original).unwrap();
            event.group = group.map(|id| GroupRef {
                id: id.to_owned(),
                version: None,
            });
            event.cancelled = cancelled;
            event
        },
    )
}

fn item_names() -> impl Strategy<Value = String> {
    prop_oneof![
        (0_u8..5).prop_map(|number| format!("i{number}")),
        Just("g".to_owned()),
        Just("h".to_owned()),
    ]
}

fn changes() -> impl Strategy<Value = ViewChange> {
    prop_oneof![
        6 => events().prop_map(ViewChange::Seen),
        2 => item_names().prop_map(|name| ViewChange::Gone(item(&name))),
        1 => (prop_oneof![Just("g"), Just("h")], windows()).prop_map(|(group, covered)| {
            ViewChange::GroupGone { group: group.to_owned(), covered }
        }),
        1 => (
            proptest::option::of(item_names()),
            proptest::option::of(prop_oneof![Just("a"), Just("ab"), Just("b")]),
        )
            .prop_map(|(name, uid)| ViewChange::Kept {
                item: name.map(|name| item(&name)),
                uid: uid.map(str::to_owned),
            }),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let listed = || proptest::collection::vec(windows(), 0..3);
    let step = prop_oneof![
        2 => Just(Step::Begin),
        4 => proptest::collection::vec(changes(), 0..8).prop_map(Step::Page),
        1 => listed().prop_map(Step::Ask),
        3 => (listed(), any::<u32>()).prop_map(|(listed, bits)| Step::Finish(listed, bits)),
        2 => any::<u32>().prop_map(Step::Link),
    ];
    proptest::collection::vec(step, 1..30)
}

#[derive(Debug, Clone)]
struct View {
    view: SourceView,
    seen: i64,
    gone: bool,
    linked: bool,
}

#[derive(Debug, Default)]
struct Model {
    views: Vec<View>,
    last_id: i64,
    round: i64,
}

/// By trying all zones.
fn overlaps_in_all_zones(time: &EventTime, window: Window) -> bool {
    let (start, end) = time.span_in(&TimeZone::UTC);
    let zones = match time {
        EventTime::AllDay { .. } => -14..=14,
        _ => 0..=0,
    };
    zones.into_iter().all(|hours| {
        let by = SignedDuration::from_hours(hours);
        window.overlaps(start + by, end + by)
    })
}

impl Model {
    fn free_ordinal(&self, key: &EventKey) -> u32 {
        let taken: BTreeSet<u32> = self
            .views
            .iter()
            .filter(|known| known.view.event.key == *key)
            .map(|known| known.view.ordinal)
            .collect();
        (0..).find(|ordinal| !taken.contains(ordinal)).unwrap()
    }

    fn take(&mut self, change: &ViewChange) {
        let round = self.round;
        let from = |known: &View, id: &str| {
            known.view.event.item.id == id
                || known
                    .view
                    .event
                    .group
                    .as_ref()
                    .is_some_and(|group| group.id == id)
        };
        match change {
            ViewChange::Seen(event) => {
                // An item that is one event by itself is no other one any more.
                let alone = |event: &Event| event.group.is_none() && event.key.original().is_none();
                if alone(event) {
                    for known in &mut self.views {
                        known.gone |= known.seen < round
                            && alone(&known.view.event)
                            && known.view.event.item.id == event.item.id;
                    }
                }
                let known = self.views.iter_mut().find(|known| {
                    known.view.event.key == event.key && known.view.event.item.id == event.item.id
                });
                if let Some(known) = known {
                    known.view.event = event.clone();
                    known.seen = round;
                    known.gone = false;
                } else {
                    self.last_id += 1;
                    let ordinal = self.free_ordinal(&event.key);
                    self.views.push(View {
                        view: SourceView {
                            id: ViewId(self.last_id),
                            event: event.clone(),
                            ordinal,
                        },
                        seen: round,
                        gone: false,
                        linked: false,
                    });
                }
            }
            ViewChange::Gone(gone) => {
                for known in &mut self.views {
                    known.gone |= from(known, &gone.id);
                }
            }
            ViewChange::GroupGone { group, covered } => {
                for known in &mut self.views {
                    known.gone |= known.seen < round
                        && known
                            .view
                            .event
                            .group
                            .as_ref()
                            .is_some_and(|of| of.id == *group)
                        && overlaps_in_all_zones(&known.view.event.content.time, *covered);
                }
            }
            ViewChange::Kept { item, uid } => {
                for known in &mut self.views {
                    if item.as_ref().is_some_and(|item| from(known, &item.id))
                        || uid.as_deref() == Some(known.view.event.key.uid())
                    {
                        known.seen = round;
                        known.gone = false;
                    }
                }
            }
        }
    }

    fn changes(&self, listed: &[Window]) -> RoundChanges {
        let vanished = |known: &View| {
            known.gone
                || known.seen < self.round
                    && listed.iter().any(|window| {
                        overlaps_in_all_zones(&known.view.event.content.time, *window)
                    })
        };
        let views = |wanted: &dyn Fn(&View) -> bool| -> Vec<SourceView> {
            let chosen = self.views.iter().filter(|known| wanted(known));
            chosen.map(|known| known.view.clone()).collect()
        };
        let gone = views(&vanished);
        RoundChanges {
            // Only asked for to be paired.
            appeared: if gone.is_empty() {
                Vec::new()
            } else {
                views(&|known| !known.linked && !vanished(known))
            },
            vanished: gone,
        }
    }

    fn finish(&mut self, pairs: &[Pair], gone: &[ViewId]) {
        self.views.retain(|known| !gone.contains(&known.view.id));
        let mut moving = Vec::new();
        for pair in pairs {
            let new = self
                .views
                .iter()
                .position(|known| known.view.id == pair.appeared);
            let new = self.views.remove(new.unwrap());
            let old = self
                .views
                .iter()
                .position(|known| known.view.id == pair.vanished);
            moving.push((self.views.remove(old.unwrap()), new));
        }
        // Those that keep their key keep their ordinal, so they are back first.
        moving.sort_by_key(|(old, new)| old.view.event.key != new.view.event.key);
        for (old, new) in moving {
            let same = old.view.event.key == new.view.event.key;
            let ordinal = if same {
                old.view.ordinal
            } else {
                self.free_ordinal(&new.view.event.key)
            };
            self.views.push(View {
                view: SourceView {
                    id: old.view.id,
                    event: new.view.event,
                    ordinal,
                },
                seen: new.seen,
                gone: false,
                linked: old.linked,
            });
        }
        self.views.sort_by_key(|known| known.view.id);
    }
}

fn bit(bits: u32, position: usize) -> bool {
    bits >> (position % 32) & 1 == 1
}

async fn play(steps: Vec<Step>) {
    let it = Fixture::in_memory().await;
    let mut model = Model::default();
    let mut round = it.begin().await;
    model.round = round.0;
    for step in steps {
        match step {
            Step::Begin => {
                round = it.begin().await;
                model.round += 1;
                assert_eq!(round.0, model.round);
            }
            Step::Page(changes) => {
                for change in &changes {
                    model.take(change);
                }
                it.page(round, changes).await;
            }
            Step::Ask(listed) => {
                assert_eq!(it.changes(round, &listed).await, model.changes(&listed));
            }
            Step::Finish(listed, bits) => {
                let changes = it.changes(round, &listed).await;
                assert_eq!(changes, model.changes(&listed));
                let mut end = it.end_of(round);
                for (position, (old, new)) in
                    changes.vanished.iter().zip(&changes.appeared).enumerate()
                {
                    if bit(bits, position) {
                        end.pairs.push(Pair {
                            vanished: old.id,
                            appeared: new.id,
                        });
                    }
                }
                for (position, old) in changes.vanished.iter().enumerate() {
                    let paired = end.pairs.iter().any(|pair| pair.vanished == old.id);
                    if !paired && bit(bits, position + 16) {
                        end.gone.push(old.id);
                    }
                }
                model.finish(&end.pairs, &end.gone);
                it.finish(end).await;
            }
            Step::Link(bits) => {
                let mut commit = it.commit();
                let mut unlinked = model
                    .views
                    .iter_mut()
                    .filter(|known| !known.linked)
                    .enumerate();
                unlinked.by_ref().for_each(|(position, known)| {
                    if bit(bits, position) {
                        known.linked = true;
                        commit.insert.push(row_for(&known.view));
                    }
                });
                it.commit_rows(commit).await;
            }
        }
        let rows = it.rows().await;
        let expected: Vec<SourceView> =
            model.views.iter().map(|known| known.view.clone()).collect();
        assert_eq!(it.views().await, expected);
        let unlinked: Vec<ViewId> = model
            .views
            .iter()
            .filter(|known| !known.linked)
            .map(|known| known.view.id)
            .collect();
        assert_eq!(ids(&rows.unlinked), unlinked);
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64,
        // Beside this file: `model.regressions`.
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn random_histories_end_as_in_the_model(steps in steps()) {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
            .block_on(play(steps));
    }
}

#[test]
fn the_model_knows_all_zones() {
    let day = EventTime::all_day(day(2), day(3)).unwrap();
    let wide = window("2026-03-01T00:00:00Z", "2026-03-04T00:00:00Z");
    let narrow = window("2026-03-02T11:00:00Z", "2026-03-02T12:00:00Z");
    assert!(overlaps_in_all_zones(&day, wide));
    assert!(!overlaps_in_all_zones(&day, narrow));
}
