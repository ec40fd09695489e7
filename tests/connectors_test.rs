//! `connectors test` as a vendor runs it: exit codes, the table, the JSON and the JUnit report, on connectors that are
//! compiled in, loaded as a library, and in child processes.
#![cfg(all(feature = "ical", unix))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/libraries.rs"]
mod libraries;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use libraries::{Libraries, WAYS};
use serde_json::Value;
use tempfile::TempDir;

/// A folder with the files of worlds, and a configuration that holds no more than `[plugins]`.
struct Folder(TempDir);

/// What a connector comes to.
struct Run {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Folder {
    /// `ical-sink` makes its own appointments. The worlds `losing.toml` and `lost.toml` stand in for systems that do
    /// not hold what the connector says: nothing arrives, or nothing is told.
    fn new(plugins: &str) -> Self {
        let folder = Self(TempDir::new().unwrap());
        for name in ["out", "in"] {
            std::fs::create_dir(folder.path(name)).unwrap();
        }
        let calendars = "calendars = [\"anna@kit.example\", \"bo@kit.example\"]";
        let sink = format!(
            "settings = {{ folder = {:?} }}\n{calendars}\nmost = 20\n",
            folder.path("out")
        );
        folder.write("calbridge.toml", plugins);
        folder.write("good.toml", &sink);
        folder.write(
            "losing.toml",
            &format!("{sink}[commands]\nheld = [\"echo\", \"[]\"]\n"),
        );
        folder.write(
            "lost.toml",
            &format!(
                "settings = {{ path = {:?} }}\n{calendars}\n[commands]\nclear = [\"sh\", \"clear.sh\"]\nput = [\"true\"]\n",
                folder.path("in")
            ),
        );
        folder.write(
            "clear.sh",
            "for one in anna bo; do\n  printf 'BEGIN:VCALENDAR\\r\\nVERSION:2.0\\r\\nPRODID:-//kit//EN\\r\\nEND:VCALENDAR\\r\\n' \
             > in/$one@kit.example.ics\ndone\n",
        );
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    /// `connectors test` with these arguments, run in the folder.
    fn run(&self, args: &[&str]) -> Run {
        let output: Output = Command::new(env!("CARGO_BIN_EXE_calbridge"))
            .current_dir(self.0.path())
            .env_remove("CALBRIDGE_CONFIG")
            .args(["--config", "calbridge.toml", "connectors", "test"])
            .args(args)
            .output()
            .unwrap();
        Run {
            code: output.status.code().expect("it was not ended by a signal"),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// How often each word stands in front of a line of the table, and what its last line counts.
fn of_table(table: &str) -> (Counts, Vec<String>) {
    let mut names = Vec::new();
    let mut counted = Counts::default();
    for line in table.lines() {
        let mut words = line.split_whitespace();
        let number = match words.next() {
            Some("passed") => &mut counted.passed,
            Some("FAILED") => &mut counted.failed,
            Some("skipped") => &mut counted.skipped,
            _ => continue,
        };
        *number += 1;
        names.push(words.next().unwrap().to_owned());
    }
    let says = format!(
        "{} passed, {} failed, {} skipped",
        counted.passed, counted.failed, counted.skipped
    );
    let last = table.trim_end().lines().last().unwrap();
    assert!(last.ends_with(&says), "{last}: {says}");
    (counted, names)
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Counts {
    passed: usize,
    failed: usize,
    skipped: usize,
}

/// What each test came to, by `--json`.
fn of_json(text: &str) -> BTreeMap<String, String> {
    let report: Value = serde_json::from_str(text).unwrap();
    let tests = report["tests"].as_array().unwrap();
    let mut verdicts = BTreeMap::new();
    for test in tests {
        let verdict = test["verdict"].as_str().unwrap();
        assert!(
            ["passed", "failed", "skipped"].contains(&verdict),
            "{test:#}"
        );
        // Whatever did not pass says why.
        assert_eq!(
            test["why"].as_str().is_some_and(|why| !why.is_empty()),
            verdict != "passed",
            "{test:#}"
        );
        assert!(!test["about"].as_str().unwrap().is_empty());
        assert!(test["milliseconds"].is_u64());
        let name = test["name"].as_str().unwrap().to_owned();
        assert!(
            verdicts.insert(name, verdict.to_owned()).is_none(),
            "{test:#}"
        );
    }
    verdicts
}

/// The counts of a JUnit report, and the names of its tests. What it sums up is compared with what it lists.
fn of_junit(path: &Path) -> (Counts, Vec<String>) {
    let text = std::fs::read_to_string(path).unwrap();
    let document = roxmltree::Document::parse(&text).unwrap();
    let root = document.root_element();
    assert_eq!(root.tag_name().name(), "testsuites");
    let suite = root
        .children()
        .find(|node| node.has_tag_name("testsuite"))
        .unwrap();
    let cases: Vec<_> = suite
        .children()
        .filter(|node| node.has_tag_name("testcase"))
        .collect();
    let with = |name: &str| {
        let has =
            |case: &&roxmltree::Node<'_, '_>| case.children().any(|inner| inner.has_tag_name(name));
        cases.iter().filter(has).count()
    };
    let counts = Counts {
        passed: cases.len() - with("failure") - with("skipped"),
        failed: with("failure"),
        skipped: with("skipped"),
    };
    for node in [root, suite] {
        let number = |name: &str| -> usize { node.attribute(name).unwrap().parse().unwrap() };
        assert_eq!(number("tests"), cases.len());
        assert_eq!(number("failures"), counts.failed);
        assert_eq!(number("skipped"), counts.skipped);
        assert_eq!(number("errors"), 0);
    }
    let names = cases
        .iter()
        .map(|case| case.attribute("name").unwrap().to_owned())
        .collect();
    (counts, names)
}

/// A folder for each way in which a connector gets into the program.
fn each_way(libraries: &Libraries, ids: &[&str]) -> Vec<(String, Folder)> {
    WAYS.iter()
        .map(|way| {
            let plugins =
                way.map_or_else(String::new, |isolation| libraries.plugins(ids, isolation));
            (format!("{way:?}"), Folder::new(&plugins))
        })
        .collect()
}

#[test]
fn all_reports_tell_the_same_of_a_connector_that_passes() {
    let libraries = Libraries::get();
    let mut verdicts = Vec::new();
    for (way, folder) in each_way(&libraries, &["ical-sink"]) {
        let run = folder.run(&["ical-sink", "--world", "good.toml", "--junit", "report.xml"]);
        assert_eq!(run.code, 0, "{way}\n{}{}", run.stdout, run.stderr);
        let (counts, names) = of_table(&run.stdout);
        assert_eq!(counts.failed, 0);
        assert!(counts.passed > 15 && counts.skipped > 0, "{counts:?}");
        assert_eq!(names.len(), calbridge_conformance::tests().len());
        assert_eq!(of_junit(&folder.path("report.xml")), (counts, names));
        // Each test was told when it was done.
        assert_eq!(run.stderr.matches(" ... passed\n").count(), counts.passed);

        let run = folder.run(&["ical-sink", "--world", "good.toml", "--json"]);
        assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{way}");
        let told = of_json(&run.stdout);
        let passed = told.values().filter(|verdict| *verdict == "passed");
        assert_eq!(passed.count(), counts.passed);
        verdicts.push(told);
    }
    assert_eq!(verdicts[1], verdicts[0]);
    assert_eq!(verdicts[2], verdicts[0]);
}

#[test]
fn all_reports_tell_the_same_of_a_connector_that_fails() {
    let libraries = Libraries::get();
    for (id, world, fails) in [
        ("ical-sink", "losing.toml", "create_makes_a_record"),
        ("ical-source", "lost.toml", "full_reading_tells_everything"),
    ] {
        for (way, folder) in each_way(&libraries, &[id]) {
            let args = [id, "--world", world, "--smoke", "--junit", "report.xml"];
            let run = folder.run(&args);
            assert_eq!(run.code, 1, "{way} {id}\n{}{}", run.stdout, run.stderr);
            let (counts, names) = of_table(&run.stdout);
            let line = |line: &&str| line.starts_with("FAILED") && line.contains(fails);
            let line = run.stdout.lines().find(line).expect(fails);
            assert!(line.contains("missing: "), "it says what: {line}");
            assert!(run.stderr.contains(&format!("{fails} ... FAILED\n")));
            assert_eq!(of_junit(&folder.path("report.xml")), (counts, names));

            let run = folder.run(&[id, "--world", world, "--smoke", "--json"]);
            assert_eq!(run.code, 1, "{way} {id}");
            let told = of_json(&run.stdout);
            assert_eq!(told[fails], "failed", "{way} {id}");
            assert_eq!(told["closes_in_time"], "passed", "{way} {id}");
            let failed = told.values().filter(|verdict| *verdict == "failed");
            assert_eq!(failed.count(), counts.failed, "{way} {id}");
        }
    }
}

#[test]
fn some_tests_can_be_chosen() {
    let folder = Folder::new("");
    let run = |more: &[&str]| {
        let args = [&["ical-sink", "--world", "good.toml"], more].concat();
        let run = folder.run(&args);
        assert_eq!(run.code, 0, "{}{}", run.stdout, run.stderr);
        of_table(&run.stdout).1
    };
    assert_eq!(
        run(&["--only", "create_"]),
        ["create_makes_a_record", "repeated_create_makes_one_record"]
    );
    assert_eq!(run(&["--only", "closes_in_time"]), ["closes_in_time"]);
    let smoke = calbridge_conformance::tests()
        .iter()
        .filter(|test| test.smoke);
    assert_eq!(
        run(&["--smoke"]),
        smoke.map(|test| test.name).collect::<Vec<_>>()
    );
}

/// Nothing was run: the code is that of wrong usage, and a document says so to machines.
#[test]
fn what_cannot_begin_says_why_and_ends_with_2() {
    let folder = Folder::new("");
    folder.write("broken.toml", "settings = {\n");
    folder.write(
        "unknown.toml",
        "settings = {}\ncalendar = [\"a@kit.example\"]\n",
    );
    folder.write("empty.toml", "settings = {}\ncalendars = []\n");
    folder.write("address.toml", "settings = {}\ncalendars = [\"anna\"]\n");
    folder.write(
        "zone.toml",
        "settings = {}\ncalendars = [\"a@kit.example\"]\nzone = \"Denmark/Odense\"\n",
    );
    folder.write(
        "secret.toml",
        "settings = {}\ncalendars = [\"a@kit.example\"]\nsecrets = [\"env:CALBRIDGE_TEST_UNSET\"]\n",
    );
    for (args, says) in [
        (&["ical-sink"][..], "--world"),
        (&["--world", "good.toml"], "<ID>"),
        (
            &[
                "ical-sink",
                "--world",
                "good.toml",
                "--only",
                "a",
                "--smoke",
            ],
            "cannot be used with",
        ),
        (
            &["frobnicator", "--world", "good.toml"],
            "there is no connector `frobnicator`; `connectors list` shows them",
        ),
        (
            &["ical-sink", "--world", "good.toml", "--only", "frobnicates"],
            "no test has such a name",
        ),
        (
            &["ical-sink", "--world", "none.toml"],
            "`none.toml`: No such file",
        ),
        (&["ical-sink", "--world", "broken.toml"], "`broken.toml`: "),
        (
            &["ical-sink", "--world", "unknown.toml"],
            "unknown field `calendar`",
        ),
        (
            &["ical-sink", "--world", "empty.toml"],
            "`calendars` is empty: the kit needs a calendar of its own",
        ),
        (
            &["ical-sink", "--world", "address.toml"],
            "`anna` is no address",
        ),
        (
            &["ical-sink", "--world", "zone.toml"],
            "write an IANA name such as `Europe/Copenhagen`",
        ),
        (
            &["ical-sink", "--world", "secret.toml"],
            "env:CALBRIDGE_TEST_UNSET",
        ),
        (
            &[
                "ical-sink",
                "--world",
                "good.toml",
                "--junit",
                "no/where.xml",
            ],
            "`no/where.xml` cannot be written: No such file",
        ),
    ] {
        let run = folder.run(args);
        assert_eq!((run.code, run.stdout.as_str()), (2, ""), "{args:?}");
        assert!(run.stderr.contains(says), "{args:?}: {}", run.stderr);
        assert!(!run.stderr.contains(" ... "), "{args:?}: {}", run.stderr);
        let run = folder.run(&[args, &["--json"]].concat());
        assert_eq!((run.code, run.stderr.as_str()), (2, ""), "{args:?}");
        let document: Value = serde_json::from_str(&run.stdout).unwrap();
        assert_eq!(document["error"]["exit"], "usage", "{args:?}");
        let message = document["error"]["message"].as_str().unwrap();
        assert!(message.contains(says), "{args:?}: {message}");
    }
}

/// Where the system itself fails, no test passes that has to do with it, and the reason is told.
#[test]
fn a_world_that_fails_is_told_as_such() {
    let folder = Folder::new("");
    let settings = format!(
        "settings = {{ folder = {:?} }}\ncalendars = [\"anna@kit.example\"]\n[commands]\n",
        folder.path("out")
    );
    for (command, says) in [
        ("clear = [\"false\"]", "the world failed: `false` failed"),
        ("clear = []", "a command of the world's file is empty"),
        (
            "clear = [\"./not-there\"]",
            "`./not-there` cannot be run: No such file",
        ),
        (
            "held = [\"echo\", \"nonsense\"]",
            "what `held` printed: expected",
        ),
    ] {
        folder.write("failing.toml", &format!("{settings}{command}\n"));
        let run = folder.run(&[
            "ical-sink",
            "--world",
            "failing.toml",
            "--only",
            "create_makes",
        ]);
        assert_eq!(run.code, 1, "{command}: {}", run.stdout);
        assert!(run.stdout.contains(says), "{command}: {}", run.stdout);
    }
}
