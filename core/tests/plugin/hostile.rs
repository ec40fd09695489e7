//! Libraries that break the contract: refused with the reason, or an error that harms nobody else.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use calbridge_core::connector::{ErrorKind, ForeignConnector, Outcome, Result, Scope};
use calbridge_core::model::Event;
use calbridge_core::plugin::host::{Isolation, LoadError, LoadedConnector, PluginSettings, load};
use serde_json::json;

use crate::common::{Files, calendar, context, launcher};
use crate::same::{changes, items, scope, write};

const BOTH: [Isolation; 2] = [Isolation::InProcess, Isolation::Process];

/// Compiles the library; none where there is no compiler.
pub(crate) fn compiled(folder: &Path, name: &str, macros: &[&str]) -> Option<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let library = folder.join(format!("{name}{}", std::env::consts::DLL_SUFFIX));
    let compiled = Command::new("cc")
        .args([
            "-std=c11", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC",
        ])
        // What a broken table leaves out.
        .arg("-Wno-unused-function")
        .arg("-I")
        .arg(here.join("include"))
        .arg("-I")
        .arg(folder)
        .args(macros.iter().map(|name| format!("-D{name}")))
        .arg(here.join("tests/plugin/hostile.c"))
        .arg("-o")
        .arg(&library)
        .output();
    let Ok(compiled) = compiled else {
        eprintln!("skipped: there is no `cc` here");
        return None;
    };
    assert!(
        compiled.status.success(),
        "{}",
        String::from_utf8_lossy(&compiled.stderr)
    );
    Some(library)
}

fn settings(path: &Path, isolation: Isolation) -> PluginSettings {
    PluginSettings {
        path: path.to_owned(),
        isolation,
        sha256: None,
        replaces: Vec::new(),
    }
}

fn refused(path: &Path, isolation: Isolation) -> String {
    let error = load(&settings(path, isolation), &launcher()).err().unwrap();
    error.to_string()
}

#[test]
fn a_library_that_does_not_fit_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = |text: &str| {
        let text = text.replace('"', "\\\"");
        format!("MANIFEST_TEXT=\"{text}\"")
    };
    let one = r#"{"id":"a","version":"1","title":"","capabilities":{},"settings":{}}"#;
    let cases = [
        (
            "symbol",
            vec!["NO_SYMBOL".to_owned()],
            "does not export `calbridge_plugin_v1`",
        ),
        (
            "null",
            vec!["NULL_TABLE".to_owned()],
            "table of functions is missing",
        ),
        (
            "small",
            vec!["SIZE=16".to_owned()],
            "has 16 bytes instead of at least",
        ),
        (
            "large",
            vec!["SIZE=1000000".to_owned()],
            "claims to have 1000000 bytes",
        ),
        (
            "lacks",
            vec!["LACKS_CANCEL".to_owned()],
            "a function is missing",
        ),
        (
            "refuses",
            vec!["REFUSES".to_owned()],
            "refuses to begin (status 3)",
        ),
        ("garbage", vec![manifest("oops")], "manifest cannot be read"),
        (
            "version",
            vec![manifest(&format!(r#"{{"abi":2,"connectors":[{one}]}}"#))],
            "version 2 of the plug-in contract",
        ),
        (
            "empty",
            vec![manifest(r#"{"abi":1,"connectors":[]}"#)],
            "holds no connector",
        ),
        (
            "twins",
            vec![manifest(&format!(
                r#"{{"abi":1,"connectors":[{one},{one}]}}"#
            ))],
            "two connectors `a`",
        ),
        (
            "nameless",
            vec![manifest(&format!(
                r#"{{"abi":1,"connectors":[{}]}}"#,
                one.replace(r#""a""#, r#"" ""#)
            ))],
            "has no name",
        ),
    ];
    for (name, macros, reason) in cases {
        let macros: Vec<&str> = macros.iter().map(String::as_str).collect();
        let Some(library) = compiled(folder.path(), name, &macros) else {
            return;
        };
        for isolation in BOTH {
            let error = refused(&library, isolation);
            assert!(error.contains(reason), "{name}, {isolation:?}: {error}");
            assert!(error.contains(name), "the file is named: {error}");
        }
    }
}

/// In a process of its own; in this one it would take the program along.
#[tokio::test(flavor = "multi_thread")]
async fn a_library_that_aborts_when_it_begins_is_an_error_of_its_connections_alone() {
    let folder = tempfile::tempdir().unwrap();
    let Some(library) = compiled(folder.path(), "aborts", &["ABORTS_AT_ONCE"]) else {
        return;
    };
    let loaded = load(&settings(&library, Isolation::Process), &launcher())
        .unwrap()
        .remove(0);
    assert_eq!(loaded.manifest().id, "hostile");
    assert!(loaded.manifest().capabilities.source.is_some());
    let opened = tokio::task::spawn_blocking(move || {
        ForeignConnector::open(&loaded, json!({}), context("aborts"))
    });
    let connection = opened.await.unwrap().unwrap();
    let error = connection.check(scope()).await.unwrap_err();
    assert_eq!(
        (error.kind, error.scope),
        (ErrorKind::Transient, Scope::Connection),
        "{error}"
    );
    assert!(error.wait().is_some(), "{error}");
}

#[test]
fn a_file_that_is_no_library_is_refused() {
    let files = Files::own();
    let text = files.folder().join("text.so");
    std::fs::write(&text, "hello").unwrap();
    for isolation in BOTH {
        for (path, reason) in [
            (Path::new("relative.so"), "must be absolute"),
            (&files.folder().join("none.so"), "cannot be read"),
            (&text, "cannot be loaded: "),
            // What the system's loader says of it.
            (
                &text,
                if cfg!(target_os = "linux") {
                    "file too short"
                } else {
                    "text.so"
                },
            ),
        ] {
            let error = refused(path, isolation);
            assert!(error.contains(reason), "{isolation:?}: {error}");
        }
        let mut pinned = files.settings(isolation);
        pinned.sha256 = Some("00".repeat(32));
        let error = load(&pinned, &launcher()).err().unwrap();
        let LoadError::OtherContent { found, .. } = &error else {
            panic!("{error}");
        };
        pinned.sha256 = Some(found.to_uppercase());
        assert_eq!(load(&pinned, &launcher()).unwrap().len(), 1);
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let open = std::fs::Permissions::from_mode(0o775);
        std::fs::set_permissions(files.folder(), open).unwrap();
        for isolation in BOTH {
            let error = refused(&files.library(), isolation);
            assert!(error.contains("may be written by a group"), "{error}");
        }
    }
}

#[test]
fn a_library_that_aborts_on_panic_does_not_compile() {
    let executable = std::env::current_exe().unwrap();
    let target = executable.ancestors().nth(3).unwrap();
    let compiled = Command::new(env!("CARGO"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["rustc", "--quiet", "--example", "boundary_guest"])
        .args(["--features", "plugin,plugin-host", "--target-dir"])
        .arg(target)
        .args(["--", "-Cpanic=abort"])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&compiled.stderr).into_owned();
    assert!(!compiled.status.success());
    assert!(
        told.contains("must be built with `panic = \"unwind\"`"),
        "{told}"
    );
}

#[test]
fn a_child_that_does_not_speak_is_refused() {
    let files = Files::shared();
    let settings = files.settings(Isolation::Process);
    let mut launcher = launcher();
    launcher.patience = Duration::from_millis(500);
    for (program, arguments, reason) in [
        ("/bin/false", vec![], "exit status: 1"),
        (
            "/bin/echo",
            vec!["hello there"],
            "the length of a frame is impossible",
        ),
        ("/bin/sleep", vec!["30"], "does not say what it holds"),
        ("/nowhere/program", vec![], "No such file"),
    ] {
        if program.starts_with("/bin") && !Path::new(program).exists() {
            continue;
        }
        launcher.program = program.into();
        launcher.arguments = arguments.into_iter().map(Into::into).collect();
        // `sleep` is not to be given a path.
        if program == "/bin/sleep" {
            launcher.program = "/bin/sh".into();
            launcher.arguments = ["-c", "sleep 30"].map(Into::into).to_vec();
        }
        let error = load(&settings, &launcher).err().unwrap();
        assert!(matches!(error, LoadError::Child { .. }), "{error}");
        assert!(error.to_string().contains(reason), "{program}: {error}");
    }
}

#[test]
fn a_connector_with_a_name_that_is_taken_is_refused() {
    let files = Files::own();
    let first = files.guest(Isolation::InProcess, &launcher());
    let entry = first.register().unwrap();
    assert_eq!(entry.id(), "test-guest");
    let second = files.guest(Isolation::InProcess, &launcher());
    let error = second.register().unwrap_err().to_string();
    assert!(
        error.contains("has brought a connector `test-guest` already"),
        "{error}"
    );
    assert!(calbridge_core::connector::find("test-guest").is_some());
    // Also where it may stand in for one that is linked in: two libraries have one name.
    let mut settings = files.settings(Isolation::InProcess);
    settings.replaces = vec!["test-guest".to_owned()];
    let third = load(&settings, &launcher()).unwrap().remove(0);
    assert!(third.register().is_err());
}

async fn fetch(hostile: &LoadedConnector, behave: &str) -> Result<Vec<Result<Event>>> {
    let connection = hostile
        .open(json!({ "behave": behave }), context("hostile"))
        .unwrap();
    let source = connection.source().unwrap();
    source.fetch(&calendar("anna"), &items(&["one"])).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_cannot_be_read_is_an_error_and_a_write_of_unknown_fate() {
    let folder = tempfile::tempdir().unwrap();
    let Some(library) = compiled(folder.path(), "hostile", &[]) else {
        return;
    };
    for isolation in BOTH {
        let hostile = load(&settings(&library, isolation), &launcher())
            .unwrap()
            .remove(0);
        for behave in [
            "not-json",
            "wrong-types",
            "not-utf8",
            "nothing",
            "bad-error",
            "strange-status",
            "deep",
        ] {
            let error = fetch(&hostile, behave).await.unwrap_err();
            assert_eq!(
                error.kind,
                ErrorKind::Protocol,
                "{isolation:?}, {behave}: {error}"
            );
            assert!(!error.message.contains("oops"), "{error}");
            let connection = hostile
                .open(json!({ "behave": behave }), context("hostile"))
                .unwrap();
            let sink = connection.sink().unwrap();
            let report = sink
                .apply(&calendar("anna"), &[write(1, "done")])
                .await
                .unwrap_or_else(|error| panic!("{isolation:?}, {behave}: {error}"));
            assert!(report.outcomes.is_empty(), "{behave}: {report:?}");
            // (An unknown member's text is not looked at.)
            assert!(
                report.trouble.is_some() || behave == "not-utf8",
                "{behave}: {report:?}"
            );
            let source = connection.source().unwrap();
            let mut feed = source.changes(changes("anna", None)).await.unwrap();
            assert!(feed.next(10).await.is_err(), "{behave}");
            assert!(feed.next(10).await.is_err(), "{behave}");
        }
        // Neither a part nor the end is no end.
        let connection = hostile.open(json!({}), context("hostile")).unwrap();
        let source = connection.source().unwrap();
        let mut feed = source.changes(changes("anna", None)).await.unwrap();
        let error = feed.next(10).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Protocol, "{error}");
        // Of two answers the first counts.
        let answer = fetch(&hostile, "twice").await.unwrap();
        assert_eq!(answer[0].as_ref().unwrap_err().code, "first");
        for behave in ["open-garbage", "open-nothing"] {
            let error = hostile
                .open(json!({ "behave": behave }), context("hostile"))
                .err()
                .unwrap();
            assert_eq!(
                error.kind,
                ErrorKind::Protocol,
                "{isolation:?}, {behave}: {error}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_newer_is_read_the_careful_way() {
    let folder = tempfile::tempdir().unwrap();
    let Some(library) = compiled(folder.path(), "newer", &[]) else {
        return;
    };
    for isolation in BOTH {
        let hostile = load(&settings(&library, isolation), &launcher())
            .unwrap()
            .remove(0);
        let answer = fetch(&hostile, "newer").await.unwrap();
        let error = answer[0].as_ref().unwrap_err();
        assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Other, "new"));
        let connection = hostile
            .open(json!({ "behave": "newer" }), context("hostile"))
            .unwrap();
        let sink = connection.sink().unwrap();
        let report = sink
            .apply(&calendar("anna"), &[write(1, "done")])
            .await
            .unwrap();
        assert_eq!(report.outcomes[0].outcome, Outcome::Unknown);
        // Which it does not know.
        let capabilities = hostile.capabilities_with(&json!({}));
        assert!(capabilities.is_err(), "{capabilities:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_library_that_never_answers_holds_nobody_up() {
    let folder = tempfile::tempdir().unwrap();
    let Some(library) = compiled(folder.path(), "never", &[]) else {
        return;
    };
    for isolation in BOTH {
        let hostile = load(&settings(&library, isolation), &launcher())
            .unwrap()
            .remove(0);
        let patience = Duration::from_millis(200);
        let answer = tokio::time::timeout(patience, fetch(&hostile, "never")).await;
        assert!(answer.is_err(), "{isolation:?}: {answer:?}");
        let answer = fetch(&hostile, "twice").await.unwrap();
        assert_eq!(answer.len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_without_an_answer_is_given_up_at_its_deadline() {
    let folder = tempfile::tempdir().unwrap();
    let Some(library) = compiled(folder.path(), "late", &[]) else {
        return;
    };
    for isolation in BOTH {
        let mut launcher = launcher();
        launcher.answer_deadline = Duration::from_millis(300);
        let hostile = load(&settings(&library, isolation), &launcher)
            .unwrap()
            .remove(0);
        let patience = Duration::from_secs(10);
        let answer = tokio::time::timeout(patience, fetch(&hostile, "never")).await;
        let error = answer.expect("it is given up").unwrap_err();
        assert_eq!(
            (error.kind, error.scope, error.code.as_str()),
            (ErrorKind::Transient, Scope::Connection, "plugin.no-answer"),
            "{isolation:?}: {error}"
        );
        // Writes may have been done; nobody knows.
        let connection = hostile
            .open(json!({ "behave": "never" }), context("hostile"))
            .unwrap();
        let sink = connection.sink().unwrap();
        let report = sink
            .apply(&calendar("anna"), &[write(1, "done")])
            .await
            .unwrap();
        assert!(report.outcomes.is_empty(), "{report:?}");
        assert_eq!(report.trouble.unwrap().code, "plugin.no-answer");
    }
}

/// The tests' runtime has this thread alone.
#[cfg(unix)]
#[tokio::test]
async fn a_library_that_blocks_in_a_call_takes_no_thread_of_the_runtime() {
    let folder = tempfile::tempdir().unwrap();
    let Some(library) = compiled(folder.path(), "blocking", &[]) else {
        return;
    };
    for isolation in BOTH {
        let mut launcher = launcher();
        launcher.answer_deadline = Duration::from_millis(300);
        let hostile = load(&settings(&library, isolation), &launcher)
            .unwrap()
            .remove(0);
        let error = fetch(&hostile, "block-call").await.unwrap_err();
        assert_eq!(error.code, "plugin.no-answer", "{isolation:?}: {error}");
        let answer = fetch(&hostile, "twice").await.unwrap();
        assert_eq!(answer.len(), 1, "{isolation:?}");
    }
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn what_a_library_has_started_does_not_hide_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let Some(library) = compiled(folder.path(), "helper", &[]) else {
        return;
    };
    let hostile = load(&settings(&library, Isolation::Process), &launcher())
        .unwrap()
        .remove(0);
    let patience = Duration::from_secs(10);
    let answer = tokio::time::timeout(patience, fetch(&hostile, "leave-helper")).await;
    let error = answer.expect("its end is noticed").unwrap_err();
    assert_eq!(error.code, "plugin.process-ended", "{error}");
    assert!(error.message.contains("signal: 6"), "{error}");
    // What it has started went with it.
    #[cfg(target_os = "linux")]
    {
        let path = library.canonicalize().unwrap();
        let path = path.to_str().unwrap();
        crate::common::until("nobody is left", async || {
            !std::fs::read_dir("/proc")
                .unwrap()
                .filter_map(|entry| std::fs::read(entry.unwrap().path().join("cmdline")).ok())
                .any(|line| String::from_utf8_lossy(&line).contains(path))
        })
        .await;
    }
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_library_does_not_get_at_the_frames_by_its_standard_input() {
    let folder = tempfile::tempdir().unwrap();
    let Some(library) = compiled(folder.path(), "input", &[]) else {
        return;
    };
    let hostile = load(&settings(&library, Isolation::Process), &launcher())
        .unwrap()
        .remove(0);
    let patience = Duration::from_secs(10);
    let answer = tokio::time::timeout(patience, fetch(&hostile, "read-input")).await;
    let error = answer.expect("its input is empty").unwrap_err();
    // Of nothing it read nothing.
    assert!(error.message.contains("answered about 0"), "{error}");
}

/// The program was killed: nobody is there to end its children.
#[cfg(unix)]
#[test]
fn a_child_whose_library_blocks_ends_with_its_input() {
    use std::io::{Read as _, Write as _};
    use std::process::Stdio;
    use std::time::Instant;
    let folder = tempfile::tempdir().unwrap();
    let Some(library) = compiled(folder.path(), "blocks", &[]) else {
        return;
    };
    let mut child = Command::new(launcher().program)
        .arg(&library)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut ask = |frame: serde_json::Value| {
        let frame = frame.to_string();
        let length = u32::try_from(frame.len()).unwrap();
        input.write_all(&length.to_le_bytes()).unwrap();
        input.write_all(frame.as_bytes()).unwrap();
    };
    let mut output = child.stdout.take().unwrap();
    let mut answered = || loop {
        let mut length = [0; 4];
        output.read_exact(&mut length).unwrap();
        let mut frame = vec![0; usize::try_from(u32::from_le_bytes(length)).unwrap()];
        output.read_exact(&mut frame).unwrap();
        let frame: serde_json::Value = serde_json::from_slice(&frame).unwrap();
        if frame.get("answer").is_some() {
            return;
        }
    };
    ask(
        json!({"open": {"id": 1, "instance": 1, "connector": "hostile",
        "config": {"behave": "block-call"}}}),
    );
    answered();
    ask(json!({"call": {"id": 2, "instance": 1, "method": "check", "payload": {}}}));
    std::thread::sleep(Duration::from_millis(200));
    assert!(child.try_wait().unwrap().is_none());
    drop(input);
    let begun = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if begun.elapsed() > Duration::from_secs(10) {
            child.kill().unwrap();
            panic!("it lives on");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
