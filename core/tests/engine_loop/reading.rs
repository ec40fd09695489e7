//! Reading: feeds, cursors, windows.

use calbridge_core::connector::{Error, ErrorKind, Outcome, Scope};
use calbridge_core::model::EventKey;

use crate::systems::*;

const ANNA: &str = "anna@x.dk";
const BO: &str = "bo@x.dk";

#[tokio::test]
async fn k061_k087_an_unchanged_calendar_costs_one_request_and_no_call() {
    let world = World::new(&[ANNA]).await;
    for n in 1..8 {
        world.source.put(
            ANNA,
            event(&format!("e{n}"), &format!("2026-12-0{n} 10:00")),
        );
    }
    let report = world.sync_well().await;
    assert_eq!(report.total.created, 7);
    let calls = world.sink.state.lock().unwrap().calls;
    assert_eq!(calls, 2, "seven writes in batches of four");
    let report = world.sync_well().await;
    assert_eq!((report.total.created, report.total.seen), (0, 0));
    assert_eq!(world.sink.state.lock().unwrap().calls, calls);
    assert_eq!(world.source.requests().len(), 2);
    assert!(world.source.requests()[1].cursor.is_some());
}

#[tokio::test]
async fn k053_k126_an_unreadable_calendar_deletes_nothing_and_stops_no_other() {
    let world = World::new(&[ANNA, BO]).await;
    world.source.put(ANNA, event("a", "2026-12-01 10:00"));
    world.source.put(BO, event("b", "2026-12-01 10:00"));
    world.sync_well().await;
    world.source.remove(ANNA, "a");
    world.source.put(BO, event("b2", "2026-12-02 10:00"));
    let gone = Error::new(
        ErrorKind::NotFound,
        Scope::Calendar,
        "ews.ErrorNonExistentMailbox",
        "no",
    );
    world.source.answer(|answers| {
        answers.refuse.insert(ANNA.to_owned(), gone);
    });
    let report = world.sync().await;
    assert_eq!(report.failures(), 1);
    assert_eq!(world.sink.ids(), ["a", "b", "b2"]);
}

#[tokio::test]
async fn a_feed_that_breaks_off_deletes_nothing_and_is_read_again() {
    let world = World::new(&[ANNA]).await;
    for n in 1..8 {
        world.source.put(
            ANNA,
            event(&format!("e{n}"), &format!("2026-12-0{n} 10:00")),
        );
    }
    world.sync_well().await;
    world.source.remove(ANNA, "e1");
    for broken_after in 0..3 {
        world
            .source
            .answer(|answers| answers.break_after = Some(broken_after));
        assert_eq!(world.sync().await.failures(), 1);
        assert_eq!(world.sink.ids().len(), 7);
    }
    world.source.answer(|answers| answers.break_after = None);
    world.sync_well().await;
    assert_eq!(world.sink.ids().len(), 6);
}

#[tokio::test]
async fn a_first_feed_that_breaks_off_writes_nothing_yet_and_resumes() {
    let world = World::new(&[ANNA]).await;
    for n in 1..8 {
        world.source.put(
            ANNA,
            event(&format!("e{n}"), &format!("2026-12-0{n} 10:00")),
        );
    }
    world.source.answer(|answers| answers.break_after = Some(2));
    assert_eq!(world.sync().await.failures(), 1);
    assert!(world.sink.ids().is_empty());
    world.source.answer(|answers| answers.break_after = None);
    world.sync_well().await;
    assert_eq!(world.sink.writes().len(), 7);
}

#[tokio::test]
async fn an_expired_cursor_reads_again_without_any_write() {
    let world = World::new(&[ANNA]).await;
    for n in 1..8 {
        world.source.put(
            ANNA,
            event(&format!("e{n}"), &format!("2026-12-0{n} 10:00")),
        );
    }
    world.sync_well().await;
    world.sink.writes();
    world.source.answer(|answers| answers.expire = true);
    let report = world.sync_well().await;
    assert_eq!(report.total.seen, 7);
    assert!(world.sink.writes().is_empty());
    // And what went meanwhile is found all the same.
    world.source.remove(ANNA, "e3");
    world.sync_well().await;
    assert_eq!(world.sink.writes(), ["delete e3"]);
}

#[tokio::test]
async fn an_uncertain_removal_is_fetched_before_it_is_believed() {
    let world = World::new(&[ANNA]).await;
    world.source.answer(|answers| answers.uncertain = true);
    world.source.put(ANNA, event("stays", "2026-12-01 10:00"));
    world.source.put(ANNA, event("goes", "2026-12-02 10:00"));
    world.sync_well().await;
    world.sink.writes();
    world.source.remove(ANNA, "goes");
    world.sync_well().await;
    assert_eq!(world.source.state.lock().unwrap().fetched, 1);
    assert_eq!(world.sink.writes(), ["delete goes"]);
}

#[tokio::test]
async fn k052_what_cannot_be_described_is_kept() {
    let world = World::new(&[ANNA]).await;
    world.source.put(ANNA, event("odd", "2026-12-01 10:00"));
    world.sync_well().await;
    world.sink.writes();
    world
        .source
        .answer(|answers| answers.unreadable = vec!["odd".to_owned()]);
    world.source.put(ANNA, event("other", "2026-12-02 10:00"));
    let report = world.sync_well().await;
    assert_eq!(report.total.unreadable, 1);
    assert_eq!(world.sink.writes(), ["create other"]);
}

#[tokio::test]
async fn the_window_rolls_and_only_the_new_slice_is_read() {
    let world = World::new(&[ANNA]).await;
    world.source.put(ANNA, event("early", "2026-11-24 10:00"));
    world.source.put(ANNA, event("late", "2027-02-24 10:00"));
    world.sync_well().await;
    assert_eq!(world.sink.ids(), ["early"]);
    world.sink.writes();
    world.forward(3 * 24);
    let report = world.sync_well().await;
    // `late` entered the window though nothing changed; `early` left it by time and is not touched.
    assert_eq!(report.total.seen, 1);
    assert_eq!(world.sink.writes(), ["create late"]);
    assert_eq!(world.sink.ids(), ["early", "late"]);
}

#[tokio::test]
async fn k057_what_lies_in_the_past_is_left_alone_when_it_goes() {
    let world = World::new(&[ANNA]).await;
    world.source.put(ANNA, event("past", "2026-11-24 10:00"));
    world.source.put(ANNA, event("ahead", "2026-12-24 10:00"));
    world.sync_well().await;
    world.sink.writes();
    world.forward(3 * 24);
    world.source.remove(ANNA, "past");
    world.sync_well().await;
    assert!(world.sink.writes().is_empty());
}

#[tokio::test]
async fn k056_what_vanished_inside_the_window_is_deleted() {
    let world = World::new(&[ANNA]).await;
    world.source.put(ANNA, event("a", "2026-12-01 10:00"));
    world.source.put(ANNA, event("b", "2026-12-02 10:00"));
    world.sync_well().await;
    world.source.remove(ANNA, "a");
    world.sync_well().await;
    assert_eq!(world.sink.ids(), ["b"]);
}

#[tokio::test]
async fn k019_one_key_in_two_calendars_is_two_events() {
    let world = World::new(&[ANNA, BO]).await;
    world.source.put(ANNA, event("meeting", "2026-12-01 10:00"));
    world.source.put(BO, event("meeting", "2026-12-01 10:00"));
    world.sync_well().await;
    world.source.remove(BO, "meeting");
    world.sync_well().await;
    assert_eq!(
        world.sink.records(),
        ["anna@x.dk meeting 2026-12-01T09:00:00Z"]
    );
}

#[tokio::test]
async fn two_copies_of_one_appointment_keep_ids_of_their_own() {
    let world = World::new(&[ANNA]).await;
    let mut copy = event("copied", "2026-12-02 10:00");
    copy.item = calbridge_core::model::ItemRef::new("the copy", None).unwrap();
    world.source.put(ANNA, event("copied", "2026-12-01 10:00"));
    world.source.put(ANNA, copy);
    world.sync_well().await;
    assert_eq!(world.sink.ids(), ["copied", "copied#2"]);
    world.sink.writes();
    world
        .sync_with(calbridge_core::engine::SyncOptions {
            full: true,
            ..Default::default()
        })
        .await;
    assert!(world.sink.writes().is_empty());
}

#[tokio::test]
async fn a_shifted_series_is_updated_under_its_old_ids() {
    let world = World::new(&[ANNA]).await;
    for day in 1..5 {
        let at = format!("2026-12-0{day} 09:00");
        world.source.put(ANNA, occurrence("series", &at, &at));
    }
    world.sync_well().await;
    let before = world.sink.ids();
    world.sink.writes();
    world.source.remove(ANNA, "series");
    for day in 1..5 {
        let at = format!("2026-12-0{day} 10:00");
        world.source.put(ANNA, occurrence("series", &at, &at));
    }
    world.sync_well().await;
    assert_eq!(world.sink.ids(), before);
    assert!(
        world
            .sink
            .writes()
            .iter()
            .all(|write| write.starts_with("update"))
    );
}

#[tokio::test]
async fn an_occurrence_that_became_an_exception_keeps_its_row() {
    let world = World::new(&[ANNA]).await;
    let original = "2026-12-01 09:00";
    world
        .source
        .put(ANNA, occurrence("series", original, original));
    world.sync_well().await;
    world.sink.writes();
    world.source.remove(ANNA, "series");
    // Another item id and another start, the same key.
    world
        .source
        .put(ANNA, occurrence("series", original, "2026-12-01 11:00"));
    world.sync_well().await;
    assert_eq!(world.sink.writes(), ["update series$20261201-090000"]);
}

#[tokio::test]
async fn no_more_calendars_are_read_at_once_than_the_source_bears() {
    let addresses: Vec<String> = (0..25).map(|n| format!("person{n}@x.dk")).collect();
    let borrowed: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let world = World::new(&borrowed).await;
    world
        .source
        .answer(|answers| answers.slow = Some(std::time::Duration::from_millis(5)));
    world.sync_well().await;
    let state = world.source.state.lock().unwrap();
    assert_eq!(state.requests.len(), 25);
    assert_eq!(state.most_in_flight, 2);
}

#[tokio::test]
async fn only_the_fields_that_the_sink_keeps_are_asked_for() {
    let world = World::new(&[ANNA]).await;
    world.source.put(ANNA, event("a", "2026-12-01 10:00"));
    world.sync_well().await;
    let asked: Vec<_> = world.source.requests()[0].fields.iter().collect();
    assert_eq!(asked, [calbridge_core::model::Field::Time]);
}

#[tokio::test]
async fn what_a_source_reports_unasked_is_not_kept() {
    let world = World::new(&[ANNA]).await;
    let mut chatty = event("a", "2026-12-01 10:00");
    chatty.content.subject = Some("Canary".to_owned());
    world.source.answer(|answers| answers.chatty = true);
    world.source.put(ANNA, chatty);
    world.sync_well().await;
    let calendar = world.store.calendars("jobcenter").await.unwrap()[0].id;
    let rows = world
        .store
        .rows("jobcenter", "exchange", calendar)
        .await
        .unwrap();
    let kept = &rows.rows[0].source.as_ref().unwrap().event.content;
    assert_eq!(kept.subject, None);
}

#[tokio::test]
async fn t20_of_four_known_events_only_the_unlisted_one_inside_the_window_is_deleted() {
    let mut config = sync_config();
    config.window = serde_json::from_str(r#"{"future":"7 days"}"#).unwrap();
    let world = World::with(&[ANNA], config, source_capabilities()).await;
    for (uid, day) in [
        ("before", "24"),
        ("inside", "26"),
        ("retimed", "28"),
        ("unlisted", "29"),
    ] {
        world
            .source
            .put(ANNA, event(uid, &format!("2026-11-{day} 10:00")));
    }
    world.sync_well().await;
    assert_eq!(world.sink.ids().len(), 4);
    world.sink.writes();
    // Two days later `before` lies before the window, and one lies behind it.
    world.forward(48);
    world.source.put(ANNA, event("after", "2026-12-03 10:00"));
    world.source.put(ANNA, event("retimed", "2026-11-28 12:00"));
    world.source.remove(ANNA, "before");
    world.source.remove(ANNA, "unlisted");
    world.sync_well().await;
    assert_eq!(world.sink.writes(), ["update retimed", "delete unlisted"]);
}

#[tokio::test]
async fn k054_k055_a_full_read_deletes_what_is_free_and_brings_back_what_is_busy_once() {
    use calbridge_core::model::ShowAs;
    let world = World::new(&[ANNA]).await;
    let full = || calbridge_core::engine::SyncOptions {
        full: true,
        reconcile: true,
        ..Default::default()
    };
    let shown = |show_as| {
        let mut event = event("a", "2026-12-01 10:00");
        event.content.show_as = Some(show_as);
        event
    };
    world.source.put(ANNA, shown(ShowAs::Busy));
    world.sync_well().await;
    world.sink.writes();
    for (show_as, expected) in [(ShowAs::Free, "delete a"), (ShowAs::Busy, "create a")] {
        world.source.put(ANNA, shown(show_as));
        world.forward(1);
        world.sync_with(full()).await;
        assert_eq!(world.sink.writes(), [expected]);
        // Neither the next full read nor reconciliation plays ping-pong with it.
        for _ in 0..3 {
            world.forward(1);
            world.sync_with(full()).await;
            assert!(world.sink.writes().is_empty());
        }
    }
}

#[tokio::test]
async fn k058_an_all_day_event_of_today_that_went_is_deleted() {
    let world = World::new(&[ANNA]).await;
    let mut today = event("today", "2026-11-25 00:00");
    today.content.time = calbridge_core::model::EventTime::all_day(
        "2026-11-25".parse().unwrap(),
        "2026-11-26".parse().unwrap(),
    )
    .unwrap();
    world.source.put(ANNA, today);
    world.source.put(ANNA, event("other", "2026-12-01 10:00"));
    world.sync_well().await;
    world.sink.writes();
    world.forward(48);
    world.source.remove(ANNA, "today");
    world.sync_well().await;
    assert_eq!(world.sink.writes(), ["delete today"]);
}

#[tokio::test]
async fn two_syncs_of_one_source_share_views_and_cursor() {
    let world = World::new(&[ANNA]).await;
    let second = MemorySink::default();
    second.state.lock().unwrap().roster = vec![ANNA.to_owned()];
    let mut other = sync_config();
    other.name = "archive".to_owned();
    other.sink = "archive".to_owned();
    other.window = serde_json::from_str(r#"{"past":"7 days","future":"6 months"}"#).unwrap();
    let mut keeps_subjects = sink_capabilities();
    let fields = &mut keeps_subjects.sink.as_mut().unwrap().fields;
    *fields = [
        calbridge_core::model::Field::Time,
        calbridge_core::model::Field::Subject,
    ]
    .into_iter()
    .collect();
    let engine = world
        .with_sink("archive", &second, keeps_subjects, other)
        .await;
    let mut titled = event("a", "2026-12-01 10:00");
    titled.content.subject = Some("Team".to_owned());
    world.source.put(ANNA, titled);
    world.source.put(ANNA, event("far", "2027-04-01 10:00"));
    let options = calbridge_core::engine::SyncOptions::default();
    let run = |sync: usize| {
        engine.sync_once(
            &engine.syncs()[sync],
            &options,
            &world.shutdown,
            &calbridge_core::engine::Silent,
        )
    };
    // Both at once: one round after the other.
    let (first, other) = tokio::join!(run(0), run(1));
    assert_eq!(
        (first.unwrap().failures(), other.unwrap().failures()),
        (0, 0)
    );
    assert_eq!(world.sink.ids(), ["a"]);
    assert_eq!(second.ids(), ["a", "far"]);
    let requests = world.source.requests();
    assert_eq!(requests.len(), 2);
    assert_eq!(requests[0].fields, requests[1].fields);
    assert_eq!(requests[0].window, requests[1].window);
    assert!(
        requests[1].cursor.is_some(),
        "the second asks for what changed only"
    );
    world.source.remove(ANNA, "a");
    let (first, other) = tokio::join!(run(1), run(0));
    assert_eq!(
        (first.unwrap().failures(), other.unwrap().failures()),
        (0, 0)
    );
    assert!(world.sink.ids().is_empty());
    assert_eq!(second.ids(), ["far"]);
}

#[tokio::test]
async fn a_feed_that_began_anew_is_not_resumed_in_the_middle() {
    let world = World::new(&[ANNA]).await;
    for n in 1..9 {
        world.source.put(
            ANNA,
            event(&format!("e{n}"), &format!("2026-12-0{n} 10:00")),
        );
    }
    world.sync_well().await;
    world.sink.writes();
    world.source.remove(ANNA, "e1");
    world.source.answer(|answers| {
        answers.expire = true;
        answers.eager = true;
        answers.break_after = Some(1);
    });
    assert_eq!(world.sync().await.failures(), 1);
    world.source.answer(|answers| *answers = Answers::default());
    world.sync_well().await;
    assert_eq!(world.sink.writes(), ["delete e1"]);
}

#[tokio::test]
async fn the_texts_of_a_private_event_are_not_even_stored() {
    let world = World::new(&[ANNA]).await;
    let archive = MemorySink::default();
    archive.state.lock().unwrap().roster = vec![ANNA.to_owned()];
    let mut config = sync_config();
    config.name = "archive".to_owned();
    config.sink = "archive".to_owned();
    let mut writes = sink_capabilities();
    writes.sink.as_mut().unwrap().fields = [
        calbridge_core::model::Field::Time,
        calbridge_core::model::Field::Subject,
    ]
    .into_iter()
    .collect();
    let engine = world.with_sink("archive", &archive, writes, config).await;
    let mut private = event("a", "2026-12-01 10:00");
    private.content.subject = Some("Canary".to_owned());
    private.content.private = Some(true);
    world.source.answer(|answers| answers.chatty = true);
    world.source.put(ANNA, private);
    let options = calbridge_core::engine::SyncOptions::default();
    engine
        .sync_once(
            &engine.syncs()[1],
            &options,
            &world.shutdown,
            &calbridge_core::engine::Silent,
        )
        .await
        .unwrap();
    let calendar = world.store.calendars("archive").await.unwrap()[0].id;
    let rows = world
        .store
        .rows("archive", "exchange", calendar)
        .await
        .unwrap();
    let view = rows.rows[0].source.as_ref().unwrap();
    assert_eq!(view.event.content.subject.as_deref(), Some("Private"));
    let sent = archive
        .state
        .lock()
        .unwrap()
        .records
        .values()
        .next()
        .cloned()
        .unwrap();
    assert_eq!(sent.subject.as_deref(), Some("Private"));
}

#[tokio::test]
async fn unreadable_at_first_contact_is_not_deleted() {
    let world = World::new(&[ANNA]).await;
    world
        .sink
        .put(ANNA, "odd", &event("odd", "2026-12-01 10:00"));
    world.source.put(ANNA, event("odd", "2026-12-01 10:00"));
    world
        .source
        .answer(|a| a.unreadable = vec!["odd".to_owned()]);
    world.sync().await;
    assert_eq!(world.sink.ids(), ["odd"], "{:?}", world.sink.writes());
}

#[tokio::test]
async fn a_hostile_uid_stops_no_calendar() {
    let world = World::new(&[ANNA]).await;
    // In an invitation through Exchange: the wrapped foreign UID is 01 20 02.
    let hostile = format!(
        "040000008200E00074C5B7101A82E008{}0F0000007643616C2D5569640100000001200200",
        "00".repeat(20)
    );
    let mut odd = event("x", "2026-12-01 10:00");
    let Ok(key) = EventKey::new(&hostile, None) else {
        return;
    };
    odd.key = key;
    world.source.put(ANNA, odd);
    world.source.put(ANNA, event("a", "2026-12-02 10:00"));
    let report = world.sync().await;
    assert_eq!(report.calendars[0].failed, None);
    assert!(world.sink.ids().contains(&"a".to_owned()));
}

#[tokio::test]
async fn what_was_read_is_delivered_while_the_source_is_down() {
    let world = World::new(&[ANNA]).await;
    world.source.put(ANNA, event("a", "2026-12-01 10:00"));
    world.sink.answer(|a| {
        a.scripted.insert(
            "a".to_owned(),
            Outcome::Retry {
                after_ms: None,
                code: None,
            },
        );
    });
    world.sync().await;
    world.sink.answer(|a| a.scripted.clear());
    let mut down = outage();
    down.scope = Scope::Calendar;
    world.source.answer(|a| {
        a.refuse.insert(ANNA.to_owned(), down);
    });
    for _ in 0..5 {
        world.forward(2);
        world.sync().await;
    }
    assert_eq!(world.sink.ids(), ["a"]);
}
