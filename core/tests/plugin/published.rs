//! Header, schemas and code say the same, and what an older library said is still understood.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::mem::offset_of;
use std::path::{Path, PathBuf};
use std::process::Command;

use calbridge_core::plugin::abi::{
    ABI, ABI_MINOR, Bytes, ERR, HostV1, LogLevel, OK, PluginV1, SYMBOL,
};
use calbridge_core::plugin::messages;

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn header() -> String {
    std::fs::read_to_string(here("include/calbridge.h")).unwrap()
}

/// A struct's name, its size, and its members' offsets in order.
type Layout = (&'static str, usize, Vec<(&'static str, usize)>);

/// The layout as the code has it.
fn layout() -> Vec<Layout> {
    macro_rules! of {
        ($type:ty, $name:literal, [$($member:ident),*]) => {
            ($name, size_of::<$type>(), vec![$((stringify!($member), offset_of!($type, $member))),*])
        };
    }
    vec![
        of!(Bytes, "calbridge_bytes", [ptr, len]),
        of!(
            HostV1,
            "calbridge_host_v1",
            [size, abi_minor, ctx, log, max_level]
        ),
        of!(
            PluginV1,
            "calbridge_plugin_v1_t",
            [
                size, abi_minor, manifest, init, open, call, cancel, close, set_level
            ]
        ),
    ]
}

/// The header's text without comments.
fn bare(header: &str) -> String {
    let mut rest = header;
    let mut text = String::new();
    while let Some((before, after)) = rest.split_once("/*") {
        text.push_str(before);
        rest = after.split_once("*/").unwrap().1;
    }
    text + rest
}

/// The names of a struct's members in the header, in order.
fn members(header: &str, name: &str) -> Vec<String> {
    let end = header.find(&format!("}} {name};")).unwrap();
    let begin = header[..end].rfind("typedef struct {").unwrap();
    header[begin + "typedef struct {".len()..end]
        .split(';')
        .map(str::trim)
        .filter(|member| !member.is_empty())
        .map(|member| {
            // `RESULT (*NAME)(ARGUMENTS)`, or `TYPE *NAME`.
            match member.split_once("(*") {
                Some((_, rest)) => rest.split_once(')').unwrap().0.to_owned(),
                None => member
                    .rsplit([' ', '*'])
                    .next()
                    .unwrap_or_default()
                    .to_owned(),
            }
        })
        .collect()
}

#[test]
fn the_header_names_the_members_in_the_codes_order() {
    let header = bare(&header());
    for (name, _, expected) in layout() {
        let expected: Vec<_> = expected.into_iter().map(|(member, _)| member).collect();
        assert_eq!(members(&header, name), expected, "{name}");
    }
}

#[test]
fn the_header_has_the_codes_numbers_and_symbol() {
    let header = bare(&header());
    let squeezed: String = header.split_whitespace().collect::<Vec<_>>().join(" ");
    for expected in [
        format!("#define CALBRIDGE_ABI {ABI}"),
        format!("#define CALBRIDGE_ABI_MINOR {ABI_MINOR}"),
        format!("CALBRIDGE_OK = {OK},"),
        format!("CALBRIDGE_ERR = {ERR} "),
        format!("CALBRIDGE_ERROR = {},", LogLevel::Error.number()),
        format!("CALBRIDGE_WARN = {},", LogLevel::Warn.number()),
        format!("CALBRIDGE_INFO = {},", LogLevel::Info.number()),
        format!("CALBRIDGE_DEBUG = {},", LogLevel::Debug.number()),
        format!("CALBRIDGE_TRACE = {} ", LogLevel::Trace.number()),
        format!("const calbridge_plugin_v1_t *{SYMBOL}(void);"),
    ] {
        assert!(squeezed.contains(&expected), "{expected}");
    }
}

#[test]
fn a_c_compiler_lays_the_structs_out_as_the_code_does() {
    let mut program =
        String::from("#include <stdio.h>\n#include \"calbridge.h\"\nint main(void) {\n");
    let mut expected = String::new();
    for (name, size, members) in layout() {
        writeln!(program, "printf(\"{name} %zu\\n\", sizeof({name}));").unwrap();
        writeln!(expected, "{name} {size}").unwrap();
        for (member, offset) in members {
            writeln!(
                program,
                "printf(\"{name}.{member} %zu\\n\", offsetof({name}, {member}));"
            )
            .unwrap();
            writeln!(expected, "{name}.{member} {offset}").unwrap();
        }
    }
    program.push_str("return 0;\n}\n");
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("layout.c");
    std::fs::write(&source, program).unwrap();
    for (compiler, language) in [("cc", "-std=c99"), ("c++", "-std=c++11")] {
        let binary = folder.path().join(compiler);
        let built = Command::new(compiler)
            .args([language, "-Wall", "-Wextra", "-Werror"])
            .arg("-x")
            .arg(if compiler == "cc" { "c" } else { "c++" })
            .arg("-I")
            .arg(here("include"))
            .arg(&source)
            .arg("-o")
            .arg(&binary)
            .output();
        let Ok(built) = built else {
            eprintln!("skipped: there is no `{compiler}` here");
            continue;
        };
        assert!(
            built.status.success(),
            "{compiler}: {}",
            String::from_utf8_lossy(&built.stderr)
        );
        let printed = Command::new(&binary).output().unwrap().stdout;
        assert_eq!(String::from_utf8(printed).unwrap(), expected, "{compiler}");
    }
}

/// `CALBRIDGE_UPDATE_SCHEMAS=1` writes them.
#[test]
fn the_published_schemas_are_those_of_the_code() {
    let folder = here(&format!("schemas/v{ABI}"));
    let update = std::env::var_os("CALBRIDGE_UPDATE_SCHEMAS").is_some();
    let mut names = BTreeSet::new();
    for (name, schema) in messages::schemas() {
        let file = format!("{name}.json");
        let path = folder.join(&file);
        let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
        if update {
            std::fs::write(&path, &text).unwrap();
        }
        let published = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(
            published, text,
            "{file} does not fit the code; look at what changed, and write it with CALBRIDGE_UPDATE_SCHEMAS=1"
        );
        names.insert(file);
    }
    let there: BTreeSet<String> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(there, names);
}
