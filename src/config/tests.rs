//! Every kind of mistake, with its place; and what the layers come to.

use std::path::Path;
use std::sync::Arc;

use calbridge_core::connector::{
    Capabilities, CheckReport, CheckScope, Connection, Connector, Context, Error, ExternalIds,
    Result as ConnectorResult, Sharing, SinkCapabilities, SourceCapabilities,
};
use calbridge_core::model::FieldSet;
use calbridge_core::secret::SecretRef;
use schemars::JsonSchema;
use serde::Deserialize;

use super::*;

mod broken;
mod fit;

/// A connector that is there for these tests alone.
struct Probe;

/// How it signs in.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
#[allow(dead_code)]
enum Auth {
    /// With a password.
    Basic {
        /// Who.
        user: String,
        /// The password.
        password: SecretRef,
    },
    /// With a token.
    Bearer {
        /// The token.
        token: SecretRef,
    },
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[allow(dead_code)]
struct Http {
    proxy_password: Option<SecretRef>,
    #[schemars(range(min = 1))]
    max_response: Option<u64>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
struct Settings {
    /// Where the server is. More words.
    url: url::Url,
    auth: Auth,
    #[serde(default)]
    jobcenter: Option<String>,
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 100))]
    max_in_flight: i64,
    #[serde(default)]
    http: Http,
    /// A text that only the connector can judge.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    zone: Option<Judged>,
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    peers: Vec<Judged>,
}

/// Refuses what begins with "bad".
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct Judged;

impl TryFrom<String> for Judged {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text.starts_with("bad") {
            Err(format!("the connector does not like `{text}`"))
        } else {
            Ok(Self)
        }
    }
}

fn one() -> i64 {
    1
}

impl Connector for Probe {
    const ID: &'static str = "probe";
    const VERSION: &'static str = "1";
    const TITLE: &'static str = "For tests";
    type Settings = Settings;

    fn capabilities() -> Capabilities {
        Capabilities {
            roster: true,
            source: Some(SourceCapabilities {
                incremental: true,
                deletions: true,
                watch: false,
                own_write_delay_ms: 0,
                fields: FieldSet::times(),
                max_in_flight: 1,
            }),
            sink: Some(SinkCapabilities {
                conditional_write: false,
                idempotent_upsert: true,
                inventory: None,
                probe: false,
                sharing: Sharing::Shared,
                external_ids: ExternalIds::Sink,
                wall_clock: None,
                fields: FieldSet::times(),
                max_batch: 1,
                max_in_flight: 1,
                own_write_delay_ms: 0,
            }),
        }
    }

    fn open(_: Settings, _: Context) -> ConnectorResult<Arc<dyn Connection>> {
        Ok(Arc::new(Open))
    }
}

struct Open;

#[async_trait::async_trait]
impl Connection for Open {
    async fn check(&self, _: CheckScope) -> ConnectorResult<CheckReport> {
        Err(Error::unsupported("check"))
    }
}

calbridge_core::export_connector!(Probe);

/// A source only.
struct ReadOnly;

impl Connector for ReadOnly {
    const ID: &'static str = "probe-read-only";
    const VERSION: &'static str = "1";
    const TITLE: &'static str = "For tests";
    type Settings = Http;

    fn capabilities() -> Capabilities {
        Capabilities {
            sink: None,
            ..Probe::capabilities()
        }
    }

    fn open(_: Http, _: Context) -> ConnectorResult<Arc<dyn Connection>> {
        Ok(Arc::new(Open))
    }
}

calbridge_core::export_connector!(ReadOnly);

/// A sink whose records are all ours, and which tells nobody's calendars.
struct Alone;

impl Connector for Alone {
    const ID: &'static str = "probe-alone";
    const VERSION: &'static str = "1";
    const TITLE: &'static str = "For tests";
    type Settings = Http;

    fn capabilities() -> Capabilities {
        let mut capabilities = Probe::capabilities();
        capabilities.roster = false;
        if let Some(sink) = &mut capabilities.sink {
            sink.sharing = Sharing::Exclusive;
        }
        capabilities
    }

    fn open(_: Http, _: Context) -> ConnectorResult<Arc<dyn Connection>> {
        Ok(Arc::new(Open))
    }
}

calbridge_core::export_connector!(Alone);

const GOOD: &str = r#"
[connections.a]
connector = "probe"
url = "https://a.example/x"
auth = { kind = "basic", user = "u", password = "env:P" }

[connections.b]
connector = "probe"
url = "https://b.example/x"
auth = { kind = "bearer", token = "file:/run/token" }

[[sync]]
name = "main"
source = "a"
sink = "b"
"#;

fn write(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

struct Case {
    folder: tempfile::TempDir,
    sources: Sources,
}

impl Case {
    fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "calbridge.toml", text);
        let sources = Sources {
            file: folder.path().join("calbridge.toml"),
            ..Sources::default()
        };
        Self { folder, sources }
    }

    fn beside(self, name: &str, text: &str) -> Self {
        write(self.folder.path(), &format!("conf.d/{name}"), text);
        self
    }

    fn environment(mut self, name: &str, value: &str) -> Self {
        self.sources.environment.push((name.into(), value.into()));
        self
    }

    fn set(mut self, option: &str) -> Self {
        self.sources.set.push(option.to_owned());
        self
    }

    fn good(&self) -> Config {
        load(&self.sources).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The mistakes, with the folder left out of their places.
    fn mistakes(&self) -> String {
        let error = load(&self.sources).map(|_| ()).unwrap_err();
        let folder = format!(
            "{}{}",
            self.folder.path().display(),
            std::path::MAIN_SEPARATOR
        );
        error.to_string().replace(&folder, "")
    }
}

/// `GOOD` with one line exchanged.
fn with(old: &str, new: &str) -> Case {
    assert!(GOOD.contains(old), "{old}");
    Case::new(&GOOD.replacen(old, new, 1))
}

#[test]
fn a_good_file_is_read_with_defaults() {
    let config = Case::new(GOOD).good();
    assert_eq!(config.connections.len(), 2);
    assert_eq!(
        config.connections["a"].settings["url"],
        "https://a.example/x"
    );
    assert!(config.connections["a"].settings.get("connector").is_none());
    assert_eq!(config.syncs[0].schedule.interval.as_secs(), 60);
    assert_eq!(config.log.level, LogLevel::Info);
    assert_eq!(config.state.retention, Retention::default());
}

#[test]
fn an_unknown_key_names_the_nearest() {
    insta::assert_snapshot!(with("url = \"https://a", "ulr = \"https://a").mistakes(), @r#"
    the configuration has 2 mistakes
      calbridge.toml:2:14: `connections.a`: the key `url` is missing
        Where the server is.
      calbridge.toml:4:1: `connections.a.ulr`: unknown key
        did you mean `url`?
    "#);
    insta::assert_snapshot!(with("[connections.a]", "[conections.a]").mistakes(), @r#"
    the configuration has 2 mistakes
      calbridge.toml:2:2: `conections`: unknown key
        did you mean `connections`?
      calbridge.toml:14:1: `sync[0].source`: there is no connection `a`
        allowed: `b`
    "#);
    insta::assert_snapshot!(with("sink = \"b\"", "sink = \"b\"\nwindow = { futur = \"3 months\" }").mistakes(), @r#"
    the configuration has a mistake
      calbridge.toml:16:12: `sync[0].window.futur`: unknown key
        did you mean `future`?
    "#);
    insta::assert_snapshot!(with("sink = \"b\"", "sink = \"b\"\n[log]\nlevle = \"info\"\n[state]\nfile = \"x\"").mistakes(), @r#"
    the configuration has 2 mistakes
      calbridge.toml:17:1: `log.levle`: unknown key
        did you mean `level`?
      calbridge.toml:19:1: `state.file`: unknown key
        allowed: `path`, `retention`
    "#);
    insta::assert_snapshot!(with("user = \"u\"", "user = \"u\", realm = \"r\"").mistakes(), @r#"
    the configuration has a mistake
      calbridge.toml:5:38: `connections.a.auth.realm`: unknown key
        allowed: `kind`, `password`, `user`
    "#);
}

#[test]
fn a_missing_key_is_named_with_its_table() {
    insta::assert_snapshot!(with("sink = \"b\"", "").mistakes(), @r#"
    the configuration has a mistake
      calbridge.toml:12:1: `sync[0]`: the key `sink` is missing
        The connection that is written.
    "#);
    insta::assert_snapshot!(with("connector = \"probe\"", "").mistakes(), @r#"
    the configuration has a mistake
      calbridge.toml:2:14: `connections.a`: the key `connector` is missing
        The connector (`calbridge connectors list` names them).
    "#);
}

#[test]
fn k155_a_user_without_password_is_a_mistake() {
    insta::assert_snapshot!(with(", password = \"env:P\"", "").mistakes(), @r#"
    the configuration has a mistake
      calbridge.toml:5:1: `connections.a.auth`: the key `password` is missing
        The password.
    "#);
}

#[test]
fn wrong_types_are_named() {
    insta::assert_snapshot!(with("url = \"https://a.example/x\"", "url = 5").mistakes(), @r#"
    the configuration has a mistake
      calbridge.toml:4:1: `connections.a.url`: wrong type: expected a text, found a whole number
        put the value into quotation marks
    "#);
    insta::assert_snapshot!(with("name = \"main\"", "name = [\"main\"]").mistakes(), @r#"
    the configuration has a mistake
      calbridge.toml:13:1: `sync[0].name`: wrong type: expected a text, found a list
    "#);
    insta::assert_snapshot!(with("url = \"https://a.example/x\"", "url = \"https://a.example/x\"\nmax_in_flight = \"ten\"").mistakes(), @r#"
    the configuration has a mistake
      calbridge.toml:5:1: `connections.a.max_in_flight`: wrong type: expected a whole number, found a text
    "#);
    insta::assert_snapshot!(with("[[sync]]", "[sync]").mistakes(), @r#"
    the configuration has a mistake
      calbridge.toml:12:2: `sync`: wrong type: expected a list, found a table
    "#);
    insta::assert_snapshot!(with("url = \"https://a.example/x\"", "url = \"nonsense\"").mistakes(), @r#"
    the configuration has a mistake
      calbridge.toml:4:1: `connections.a.url`: is not an address of the form https://HOST/PATH
        Where the server is.
    "#);
    insta::assert_snapshot!(with("kind = \"basic\"", "kind = \"ntlm\"").mistakes(), @r#"
    the configuration has a mistake
      calbridge.toml:5:10: `connections.a.auth.kind`: must be `basic` or `bearer`
    "#);
    insta::assert_snapshot!(with("sink = \"b\"", "sink = \"b\"\ndirection = \"sideways\"").mistakes(), @r#"
    the configuration has a mistake
      calbridge.toml:16:1: `sync[0].direction`: must be one of "one-way", "two-way"
    "#);
}

#[test]
fn what_only_the_connector_sees_has_its_place_too() {
    insta::assert_snapshot!(with("url = \"https://a.example/x\"", "url = \"https://a.example/x\"\nzone = \"bad\"\npeers = [\"good\", \"bad too\"]").mistakes(), @r#"
    the configuration has 2 mistakes
      calbridge.toml:5:1: `connections.a.zone`: the connector does not like `bad`
      calbridge.toml:6:18: `connections.a.peers[1]`: the connector does not like `bad too`
    "#);
}

#[test]
fn k152_malformed_times_are_named() {
    insta::assert_snapshot!(with(
        "sink = \"b\"",
        "sink = \"b\"\nwindow = { past = \"-1 days\", future = \"soon\" }\nschedule = { full = [\"25:00\"], reconcile = [\"2 am\"], interval = \"often\" }\nzone = \"Europe/Kopenhagen\"",
    ).mistakes(), @r#"
    the configuration has 6 mistakes
      calbridge.toml:16:12: `sync[0].window.past`: `-1 days` is negative; a length of time counts forwards
      calbridge.toml:16:30: `sync[0].window.future`: `soon` is not a length of time; write for example `3 months`, `14 days` or `90 s`
      calbridge.toml:17:14: `sync[0].schedule.full`: `25:00` is not a time of day; write `HH:MM`
      calbridge.toml:17:32: `sync[0].schedule.reconcile`: `2 am` is not a time of day; write `HH:MM`
      calbridge.toml:17:54: `sync[0].schedule.interval`: is not a length of time; write for example `60 s` or `10 min`
      calbridge.toml:18:1: `sync[0].zone`: `Europe/Kopenhagen` is not a zone
        write an IANA name such as `Europe/Copenhagen`
    "#);
    insta::assert_snapshot!(with("sink = \"b\"", "sink = \"b\"\nschedule = { interval = \"0 s\" }").mistakes(), @r#"
    the configuration has a mistake
      calbridge.toml:16:14: `sync[0].schedule.interval`: must be longer than nothing
        write for example `60 s` or `10 min`
    "#);
    insta::assert_snapshot!(with("sink = \"b\"", "sink = \"b\"\nwindow = { future = \"0 days\" }").mistakes(), @r#"
    the configuration has a mistake
      calbridge.toml:16:1: `sync[0].window`: the window is empty or too long; `future` must lie ahead of `past`
    "#);
}

#[test]
fn k154_no_parallelism_at_all_is_a_mistake() {
    for wrong in ["0", "-3"] {
        let mistakes = with(
            "url = \"https://a.example/x\"",
            &format!("url = \"https://a.example/x\"\nmax_in_flight = {wrong}"),
        )
        .mistakes();
        assert_eq!(
            mistakes,
            "the configuration has a mistake\n  calbridge.toml:5:1: `connections.a.max_in_flight`: must be from 1 to 100"
        );
    }
}

#[test]
fn an_inline_secret_is_refused_and_never_repeated() {
    for case in [
        with("env:P", "hunter2"),
        with("file:/run/token", "hunter2"),
        with("\"env:P\"", "12342"),
        with(
            "connector = \"probe\"",
            "connector = \"probe\"\nhttp = { proxy_password = \"hunter2\" }",
        ),
        Case::new(GOOD).environment("CALBRIDGE_CONNECTIONS__A__AUTH__PASSWORD", "hunter2"),
        Case::new(GOOD).set("connections.a.auth.password=hunter2"),
    ] {
        let error = load(&case.sources).map(|_| ()).unwrap_err();
        let text = format!("{error}\n{error:?}");
        assert!(
            text.contains("a secret may not stand in the configuration"),
            "{text}"
        );
        assert!(text.contains("env:NAME"), "{text}");
        assert!(
            !text.contains("hunter2") && !text.contains("12342"),
            "{text}"
        );
    }
    insta::assert_snapshot!(with("env:P", "hunter2").mistakes(), @r#"
    the configuration has a mistake
      calbridge.toml:5:38: `connections.a.auth.password`: a secret may not stand in the configuration
        put the secret elsewhere and refer to it: `env:NAME`, `file:PATH`, `credential:NAME` or `keyring:SERVICE/USER`
    "#);
}

#[test]
fn a_secret_under_a_wrong_key_or_in_broken_toml_is_not_repeated() {
    for case in [
        with("password = \"env:P\"", "pasword = \"hunter2\""),
        with("password = \"env:P\"", "password = \"hunter2"),
        with("password = \"env:P\"", "password = hunter2"),
        with("[[sync]]", "[log]\nlevel = \"hunter2\"\n[[sync]]"),
        with("env:P", "env:"),
        Case::new(GOOD).set("=hunter2"),
        Case::new(GOOD).set("hunter2"),
        Case::new(GOOD).environment("CALBRIDGE_SECRETS__PASSWORD", "hunter2"),
    ] {
        let text = case.mistakes();
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[test]
fn connections_and_connectors_that_are_not_there_are_named() {
    insta::assert_snapshot!(with("connector = \"probe\"", "connector = \"prob\"").mistakes(), @r#"
    the configuration has a mistake
      calbridge.toml:3:1: `connections.a.connector`: there is no connector `prob`
        did you mean `probe`?
    "#);
    insta::assert_snapshot!(with("sink = \"b\"", "sink = \"planner\"").mistakes(), @r#"
    the configuration has a mistake
      calbridge.toml:15:1: `sync[0].sink`: there is no connection `planner`
        allowed: `a`, `b`
    "#);
    insta::assert_snapshot!(with("sink = \"b\"", "sink = \"a\"").mistakes(), @r#"
    the configuration has a mistake
      calbridge.toml:15:1: `sync[0].sink`: source and sink are the same connection
    "#);
    insta::assert_snapshot!(with("sink = \"b\"", "sink = \"b\"\ndirection = \"two-way\"").mistakes(), @r#"
    the configuration has a mistake
      calbridge.toml:16:1: `sync[0].direction`: `two-way` is not available yet
        write `one-way`, or leave the key out
    "#);
}

#[test]
fn a_connection_that_cannot_be_written_is_no_sink() {
    let text = format!(
        "{}\n[connections.c]\nconnector = \"probe-read-only\"",
        GOOD.replace("sink = \"b\"", "sink = \"c\"")
    );
    insta::assert_snapshot!(Case::new(&text).mistakes(), @r#"
    the configuration has a mistake
      calbridge.toml:15:1: `sync[0].sink`: the connection `c` cannot be written: its connector `probe-read-only` cannot do that
    "#);
}

#[test]
fn two_syncs_of_one_name_are_a_mistake_across_files() {
    let second = "[[sync]]\nname = \"main\"\nsource = \"b\"\nsink = \"a\"\n";
    insta::assert_snapshot!(Case::new(GOOD).beside("10-more.toml", second).mistakes(), @r#"
    the configuration has a mistake
      conf.d/10-more.toml:2:1: `sync[1].name`: another sync has the name `main` already
        give each sync a name of its own; what is remembered is kept under it
    "#);
}

#[test]
fn all_mistakes_are_reported_at_once() {
    let text = GOOD
        .replace(
            "url = \"https://a.example/x\"",
            "ulr = \"https://a.example/x\"",
        )
        .replace(
            "sink = \"b\"",
            "sink = \"c\"\nwindow = { future = \"soon\" }",
        )
        .replace("env:P", "hunter2");
    insta::assert_snapshot!(Case::new(&text).beside("a.toml", "[log]\nlevel = 3\n").mistakes(), @r#"
    the configuration has 6 mistakes
      calbridge.toml:2:14: `connections.a`: the key `url` is missing
        Where the server is.
      calbridge.toml:4:1: `connections.a.ulr`: unknown key
        did you mean `url`?
      calbridge.toml:5:38: `connections.a.auth.password`: a secret may not stand in the configuration
        put the secret elsewhere and refer to it: `env:NAME`, `file:PATH`, `credential:NAME` or `keyring:SERVICE/USER`
      calbridge.toml:15:1: `sync[0].sink`: there is no connection `c`
        allowed: `a`, `b`
      calbridge.toml:16:12: `sync[0].window.future`: `soon` is not a length of time; write for example `3 months`, `14 days` or `90 s`
      conf.d/a.toml:2:1: `log.level`: wrong type: expected a text, found a whole number
        put the value into quotation marks
    "#);
}

#[test]
fn broken_toml_has_its_line() {
    insta::assert_snapshot!(with("name = \"main\"", "name = ").mistakes(), @r#"
    the configuration has a mistake
      calbridge.toml:13:8: not valid TOML: string values must be quoted, expected literal string
    "#);
    insta::assert_snapshot!(with("name = \"main\"", "name = \"main\"\nname = \"again\"").mistakes(), @r#"
    the configuration has a mistake
      calbridge.toml:14:1: not valid TOML: duplicate key
    "#);
}

#[test]
fn a_file_that_is_not_there_or_no_text_is_named() {
    let mut case = Case::new(GOOD);
    std::fs::write(&case.sources.file, b"\xff\xfe").unwrap();
    insta::assert_snapshot!(case.mistakes(), @r#"
    the configuration has a mistake
      calbridge.toml: the file is not UTF-8 text
        save it in the encoding UTF-8
    "#);
    case.sources.file = case.folder.path().join("missing.toml");
    insta::assert_snapshot!(case.mistakes(), @r#"
    the configuration has a mistake
      missing.toml: there is no such file
        write one (`examples/` holds some to copy), or name another with --config
    "#);
}

#[test]
fn each_layer_goes_over_the_one_before() {
    let case = Case::new(GOOD)
        .beside("10.toml", "[log]\nlevel = \"error\"\nformat = \"json\"\n[connections.a]\nurl = \"https://ten.example/\"\n")
        .beside("20.toml", "[log]\nlevel = \"warn\"\n")
        .beside("30.toml.bak", "nonsense");
    let config = case.good();
    assert_eq!(config.log.level, LogLevel::Warn);
    assert_eq!(config.log.format, LogFormat::Json);
    assert_eq!(
        config.connections["a"].settings["url"],
        "https://ten.example/"
    );
    assert_eq!(config.connections["a"].settings["auth"]["user"], "u");
    assert_eq!(config.files.len(), 3);
    let case = case.environment("CALBRIDGE_LOG__LEVEL", "debug");
    assert_eq!(case.good().log.level, LogLevel::Debug);
    let case = case.set("log.level=trace");
    assert_eq!(case.good().log.level, LogLevel::Trace);
}

#[test]
fn texts_from_the_environment_need_no_quotation_marks() {
    let config = Case::new(GOOD)
        .environment("CALBRIDGE_CONNECTIONS__A__JOBCENTER", "10100")
        .environment("CALBRIDGE_CONNECTIONS__A__MAX_IN_FLIGHT", "7")
        .environment("CALBRIDGE_PASSWORD", "none of ours")
        .environment("OTHER__LOG__LEVEL", "none of ours")
        .set("connections.b.jobcenter=0815")
        .set("connections.\"b\".http.max_response = 5")
        .good();
    assert_eq!(config.connections["a"].settings["jobcenter"], "10100");
    assert_eq!(config.connections["a"].settings["max_in_flight"], 7);
    assert_eq!(config.connections["b"].settings["jobcenter"], "0815");
    assert_eq!(config.connections["b"].settings["http"]["max_response"], 5);
}

#[test]
fn mistakes_of_the_environment_and_the_command_line_name_them() {
    insta::assert_snapshot!(
        Case::new(GOOD)
            .environment("CALBRIDGE_LOG__LEVEL", "loud")
            .environment("CALBRIDGE_CONNECTIONS__A__MAX_IN_FLIGHT", "many")
            .set("connections.b.max_in_flight=0")
            .mistakes(),
        @r#"
    the configuration has 3 mistakes
      environment variable CALBRIDGE_CONNECTIONS__A__MAX_IN_FLIGHT: `connections.a.max_in_flight`: wrong type: expected a whole number, found a text
      environment variable CALBRIDGE_LOG__LEVEL: `log.level`: must be one of "error", "warn", "info", "debug", "trace"
      option --set connections.b.max_in_flight=...: `connections.b.max_in_flight`: must be from 1 to 100
    "#
    );
    insta::assert_snapshot!(
        Case::new(GOOD)
            .environment("CALBRIDGE_SYNC__MAIN__SOURCE", "a")
            .environment("CALBRIDGE_LOGS__LEVEL", "a")
            .set("loglevel")
            .mistakes(),
        @r#"
    the configuration has 3 mistakes
      an option --set cannot be understood
        write --set KEY=VALUE, for example --set log.level=debug
      environment variable CALBRIDGE_LOGS__LEVEL: `logs.level`: unknown section
        did you mean `log`?
      environment variable CALBRIDGE_SYNC__MAIN__SOURCE: `sync`: a sync cannot be set by the environment
        write it into the file, or into one of conf.d
    "#
    );
}

#[test]
fn the_whole_schema_takes_what_is_right_and_refuses_what_is_not() {
    let schema = jsonschema::options().build(&whole_schema()).unwrap();
    let json =
        |text: &str| serde_json::to_value(toml::from_str::<toml::Table>(text).unwrap()).unwrap();
    assert!(
        schema.is_valid(&json(GOOD)),
        "{:?}",
        schema
            .iter_errors(&json(GOOD))
            .map(|e| e.to_string())
            .collect::<Vec<_>>()
    );
    for (old, new) in [
        ("url = \"https://a", "ulr = \"https://a"),
        ("env:P", "hunter2"),
        ("connector = \"probe\"", "connector = \"prob\""),
        ("sink = \"b\"", "sinks = \"b\""),
    ] {
        assert!(
            !schema.is_valid(&json(&GOOD.replacen(old, new, 1))),
            "{new}"
        );
    }
}
