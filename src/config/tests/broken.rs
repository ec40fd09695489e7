//! Text that cannot be read: one mistake for each thing that is wrong.

use super::*;

/// The message and the line of each mistake of a file that is no TOML.
fn told(text: &str) -> Vec<(usize, String)> {
    let case = Case::new(text);
    let error = load(&case.sources).map(|_| ()).unwrap_err();
    error
        .mistakes
        .into_iter()
        .map(|mistake| match mistake.place {
            Some(Place::File {
                at: Some((line, _)),
                ..
            }) => (line, mistake.message),
            other => panic!("{other:?}"),
        })
        .collect()
}

#[test]
fn a_quotation_mark_that_is_missing_is_one_mistake() {
    insta::assert_snapshot!(with("user = \"u\"", "user = \"u").mistakes(), @r#"
    the configuration has a mistake
      calbridge.toml:5:54: not valid TOML: a quotation mark is missing in this line
    "#);
    insta::assert_snapshot!(with("name = \"main\"", "name = \"main").mistakes(), @r#"
    the configuration has a mistake
      calbridge.toml:13:8: not valid TOML: a quotation mark is missing in this line
    "#);
    for (old, new, line) in [
        ("\"https://a.example/x\"", "\"https://a.example/x", 4),
        ("\"https://a.example/x\"", "'https://a.example/x", 4),
        ("\"https://a.example/x\"", "\"\"\"https://a.example/x", 4),
        ("\"https://a.example/x\"", "https://a.example/x\"", 4),
        (
            "\"https://a.example/x\"",
            "[\"https://a.example/x, \"y\"]",
            4,
        ),
        ("\"basic\"", "\"basic", 5),
        ("\"env:P\"", "\"env:P", 5),
        ("name = \"main\"", "name = \"\"\"main", 13),
    ] {
        let told = told(&GOOD.replacen(old, new, 1));
        assert_eq!(told.len(), 1, "{new}: {told:?}");
        assert_eq!(told[0].0, line, "{new}: {told:?}");
        assert!(
            ["quotation mark", "quoted", "does not end"]
                .iter()
                .any(|words| told[0].1.contains(words)),
            "{new}: {told:?}"
        );
    }
}

#[test]
fn several_things_that_are_wrong_are_told_each() {
    let told = told(
        &GOOD
            .replacen("\"https://a.example/x\"", "https", 1)
            .replacen("\"https://b.example/x\"", "", 1)
            .replace("sink = \"b\"", "sink = \"b"),
    );
    let lines: Vec<usize> = told.iter().map(|(line, _)| *line).collect();
    assert_eq!(lines, [4, 9, 15], "{told:?}");
}

#[test]
fn a_windows_path_in_double_quotes_asks_for_single_ones() {
    let state = |path: &str| with("[[sync]]", &format!("[state]\npath = {path}\n[[sync]]"));
    insta::assert_snapshot!(state(r#""C:\calbridge\state.db""#).mistakes(), @r#"
    the configuration has a mistake
      calbridge.toml:13:12: not valid TOML: a backslash begins no escape sequence here
        in double quotes a backslash begins an escape sequence such as `\t`; write a Windows path between single quotes: 'C:\calbridge\calbridge.db'
    "#);
    // Valid TOML, but with a tab in the path.
    insta::assert_snapshot!(state(r#""C:\temp\new.db""#).mistakes(), @r#"
    the configuration has a mistake
      calbridge.toml:13:1: `state.path`: holds a tab, a line break or another control character
        in double quotes a backslash begins an escape sequence such as `\t`; write a Windows path between single quotes: 'C:\calbridge\calbridge.db'
    "#);
    for path in [
        r#""C:\Users\x.db""#,
        r#""D:\data\x.db""#,
        r#""D:\xyz\a.db""#,
        r#""C:\ProgramData\calbridge\""#,
        r#""\\server\share\x.db""#,
    ] {
        let text = state(path).mistakes();
        assert!(
            text.starts_with("the configuration has a mistake\n  calbridge.toml:13:"),
            "{text}"
        );
        assert!(text.contains("between single quotes: 'C:\\"), "{text}");
    }
    let config = state(r"'C:\temp\state.db'").good();
    assert_eq!(config.state.path, Path::new(r"C:\temp\state.db"));
}

#[cfg(unix)]
#[test]
fn what_is_no_text_in_the_environment_is_a_mistake_if_it_is_ours() {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt as _;

    let mut case = Case::new(GOOD);
    let bad = || OsString::from_vec(b"inf\xff".to_vec());
    for name in ["CALBRIDGE_PASSWORD", "OTHER__NAME"] {
        case.sources.environment.push((name.into(), bad()));
    }
    case.good();
    case.sources
        .environment
        .push(("CALBRIDGE_LOG__LEVEL".into(), bad()));
    let name = OsString::from_vec(b"CALBRIDGE_LOG__LEV\xff".to_vec());
    case.sources.environment.push((name, "info".into()));
    insta::assert_snapshot!(case.mistakes(), @r#"
    the configuration has a mistake
      environment variable CALBRIDGE_LOG__LEVEL: `log.level`: the value is not UTF-8 text
        set it in the encoding UTF-8
    "#);
}
