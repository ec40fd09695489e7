//! Numbers out of range, and syncs that do not fit their connections.

use super::*;

#[test]
fn numbers_that_make_no_sense_are_told_with_their_range() {
    insta::assert_snapshot!(with(
        "sink = \"b\"",
        "sink = \"b\"\nguard = { percent = 101, calendars_percent = 1000, count = -1, empty_above = 5_000_000_000 }\n[state.retention]\nrows_days = 5_000_000_000\ncalls_days = 0\nleavers_days = 36_501",
    ).mistakes(), @r#"
    the configuration has 7 mistakes
      calbridge.toml:16:11: `sync[0].guard.percent`: must be from 0 to 100
      calbridge.toml:16:26: `sync[0].guard.calendars_percent`: must be from 0 to 100
      calbridge.toml:16:52: `sync[0].guard.count`: must be 0 or more
      calbridge.toml:16:64: `sync[0].guard.empty_above`: must be from 0 to 4294967295
      calbridge.toml:18:1: `state.retention.rows_days`: must be from 1 to 36500
      calbridge.toml:19:1: `state.retention.calls_days`: must be from 1 to 36500
      calbridge.toml:20:1: `state.retention.leavers_days`: must be from 1 to 36500
    "#);
    let config = with(
        "sink = \"b\"",
        "sink = \"b\"\nguard = { percent = 100, calendars_percent = 0, count = 0 }\n[state.retention]\nrows_days = 1\ncalls_days = 36500",
    )
    .good();
    assert_eq!(config.syncs[0].guard.percent, 100);
    assert_eq!(config.state.retention.rows_days, 1);
}

#[test]
fn two_syncs_that_would_delete_each_others_records_have_their_place() {
    let second = "[[sync]]\nname = \"second\"\nsource = \"a\"\nsink = \"c\"\n";
    let first = GOOD.replace("sink = \"b\"", "sink = \"c\"")
        + "\n[connections.c]\nconnector = \"probe-alone\"\n";
    insta::assert_snapshot!(Case::new(&first).beside("second.toml", second).mistakes(), @r#"
    the configuration has a mistake
      conf.d/second.toml:4:1: `sync[1].sink`: the sync `main` writes `c` already, and each would delete what the other wrote
        give both an allow list, `roster = { allow = [...] }`, without common addresses
    "#);
    // Lists that keep them apart help, lists with a common address do not.
    let list = |text: &str, addresses: &str| {
        text.replace(
            "sink = \"c\"",
            &format!("sink = \"c\"\nroster = {{ allow = [{addresses}] }}"),
        )
    };
    let anna = list(&first, "\"anna@example.org\"");
    Case::new(&anna)
        .beside("second.toml", &list(second, "\"bo@example.org\""))
        .good();
    for other in ["\"bo@example.org\", \"ANNA@example.org\"", ""] {
        let text = Case::new(&anna)
            .beside("second.toml", &list(second, other))
            .mistakes();
        assert!(
            text.contains("`sync[1].sink`: the sync `main` writes"),
            "{text}"
        );
    }
}

#[test]
fn a_sync_that_nobody_tells_the_calendars_of_has_its_place() {
    let alone = |roster: &str| {
        Case::new(
            &(GOOD.replace("sink = \"b\"", &format!("sink = \"c\"\nroster = {roster}"))
                + "\n[connections.c]\nconnector = \"probe-alone\"\n"),
        )
    };
    insta::assert_snapshot!(alone("{ from = \"sink\" }").mistakes(), @r#"
    the configuration has a mistake
      calbridge.toml:16:1: `sync[0].roster`: the connection `c` has no roster, that is: it does not tell whose calendars it has
        name the addresses: `roster = { from = "allow", allow = ["anna@example.org"] }`
    "#);
    insta::assert_snapshot!(alone("{ from = \"allow\" }").mistakes(), @r#"
    the configuration has a mistake
      calbridge.toml:16:1: `sync[0].roster`: nobody gives a roster, that is: tells whose calendars belong to the sync
        name the addresses: `roster = { from = "allow", allow = ["anna@example.org"] }`
    "#);
    alone("{ from = \"source\" }").good();
    alone("{}").good();
    alone("{ from = \"allow\", allow = [\"anna@example.org\"] }").good();
    let both = GOOD
        .replace("[connections.a]\nconnector = \"probe\"\nurl = \"https://a.example/x\"\nauth = { kind = \"basic\", user = \"u\", password = \"env:P\" }", "[connections.a]\nconnector = \"probe-alone\"")
        .replace("[connections.b]\nconnector = \"probe\"\nurl = \"https://b.example/x\"\nauth = { kind = \"bearer\", token = \"file:/run/token\" }", "[connections.b]\nconnector = \"probe-alone\"");
    insta::assert_snapshot!(Case::new(&both).mistakes(), @r#"
    the configuration has a mistake
      calbridge.toml:8:1: `sync[0].roster`: nobody gives a roster, that is: tells whose calendars belong to the sync
        name the addresses: `roster = { from = "allow", allow = ["anna@example.org"] }`
    "#);
}

#[test]
fn one_wrong_value_is_one_mistake() {
    insta::assert_snapshot!(with("sink = \"b\"", "sink = \"b\"\nprivate = { x = 1 }\n[log]\nformat = 2026-01-01\nlevel = { x = \"info\" }").mistakes(), @r#"
    the configuration has 3 mistakes
      calbridge.toml:16:1: `sync[0].private`: wrong type: expected a text, found a table
      calbridge.toml:18:1: `log.format`: must be one of "text", "json"
      calbridge.toml:19:1: `log.level`: wrong type: expected a text, found a table
    "#);
    insta::assert_snapshot!(with("kind = \"basic\", user = \"u\", password = \"env:P\"", "").mistakes(), @r#"
    the configuration has a mistake
      calbridge.toml:5:1: `connections.a.auth`: the key `kind` is missing
    "#);
    insta::assert_snapshot!(with("sink = \"b\"", "sink = \"b\"\nschedule = { interval = \"\", full = [02:00:00.5] }\n[state]\npath = \"\"").mistakes(), @r#"
    the configuration has 3 mistakes
      calbridge.toml:16:14: `sync[0].schedule.interval`: is not a length of time; write for example `60 s` or `10 min`
      calbridge.toml:16:29: `sync[0].schedule.full`: `02:00:00.5` is not a time of day; write `HH:MM`
      calbridge.toml:18:1: `state.path`: must not be empty
    "#);
    // Times of day without quotation marks are what they look like.
    let full = |time: &str| {
        with(
            "sink = \"b\"",
            &format!("sink = \"b\"\nschedule = {{ full = [{time}] }}"),
        )
        .good()
    };
    let (bare, quoted) = (full("03:30"), full("\"03:30\""));
    assert_eq!(
        format!("{:?}", bare.syncs[0].schedule),
        format!("{:?}", quoted.syncs[0].schedule)
    );
}

/// What a connector finds when it is opened, such as a file that is not there, has the place of the setting.
#[test]
fn what_a_connector_says_of_an_inner_setting_has_its_place() {
    let config = with(
        "connector = \"probe\"",
        "connector = \"probe\"\nhttp = { max_response = 5 }",
    )
    .good();
    let mistake = |text: &str| {
        let mistake = config.connections["a"].mistake(text);
        let Some(Place::File {
            at: Some((line, _)),
            ..
        }) = mistake.place
        else {
            panic!("{mistake:?}")
        };
        (line, mistake.key)
    };
    let inner = mistake("`max_response` x: cannot be read");
    assert_eq!(inner, (4, "connections.a.http.max_response".to_owned()));
    assert_eq!(mistake("`url` is odd"), (5, "connections.a.url".to_owned()));
    assert_eq!(mistake("`nothing` is odd"), (2, "connections.a".to_owned()));
}
