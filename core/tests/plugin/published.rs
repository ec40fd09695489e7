//! Header, schemas and code say the same, and what an older library said is still understood.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::mem::offset_of;
use std::path::{Path, PathBuf};
use std::process::Command;

use calbridge_core::connector::{ConnectorEntry, Error};
use calbridge_core::plugin::abi::{
    ABI, ABI_MINOR, Bytes, ERR, HostV1, LogLevel, OK, PluginV1, SYMBOL,
};
use calbridge_core::plugin::dispatch::{Dispatcher, library_call};
use calbridge_core::plugin::messages;
use serde_json::json;

use crate::common::context;
use crate::connector::Guest;

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

fn squeezed(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A source file of the boundary, parsed.
fn source(path: &str) -> syn::File {
    syn::parse_file(&std::fs::read_to_string(here(path)).unwrap()).unwrap()
}

fn last(path: &syn::Path) -> &syn::PathSegment {
    path.segments.last().unwrap()
}

/// How C writes this type, with the star that belongs to what it is the type of.
fn in_c(of: &syn::Type) -> String {
    match of {
        syn::Type::Ptr(pointer) => {
            let constant = if pointer.mutability.is_none() {
                "const "
            } else {
                ""
            };
            format!("{constant}{}*", in_c(&pointer.elem))
        }
        syn::Type::Path(of) => {
            let name = last(&of.path).ident.to_string();
            let known = [
                ("u8", "uint8_t "),
                ("u32", "uint32_t "),
                ("i32", "int32_t "),
                ("u64", "uint64_t "),
                ("usize", "size_t "),
                ("c_void", "void "),
                ("Bytes", "calbridge_bytes "),
                ("Done", "calbridge_done "),
                ("HostV1", "calbridge_host_v1 "),
                ("PluginV1", "calbridge_plugin_v1_t "),
            ];
            let known = known.iter().find(|(rust, _)| *rust == name);
            known.map_or_else(
                || panic!("`{name}` has no counterpart in C"),
                |(_, c)| (*c).to_owned(),
            )
        }
        _ => panic!("a type of the table that C does not have"),
    }
}

/// `RESULT (*NAME)(TYPE NAME, ...)`.
fn function_in_c(name: &str, function: &syn::TypeBareFn) -> String {
    assert!(function.unsafety.is_some(), "{name}");
    let abi = function.abi.as_ref().and_then(|abi| abi.name.as_ref());
    assert_eq!(abi.map(syn::LitStr::value).as_deref(), Some("C"), "{name}");
    let result = match &function.output {
        syn::ReturnType::Default => "void ".to_owned(),
        syn::ReturnType::Type(_, of) => in_c(of),
    };
    let given: Vec<String> = function
        .inputs
        .iter()
        .map(|input| format!("{}{}", in_c(&input.ty), input.name.as_ref().unwrap().0))
        .collect();
    let given = if given.is_empty() {
        "void".to_owned()
    } else {
        given.join(", ")
    };
    format!("{result}(*{name})({given})")
}

/// What a type alias stands for, if it is a function.
fn alias<'a>(file: &'a syn::File, name: &str) -> Option<&'a syn::TypeBareFn> {
    file.items.iter().find_map(|item| match item {
        syn::Item::Type(item) if item.ident == name => match &*item.ty {
            syn::Type::BareFn(function) => Some(function),
            _ => None,
        },
        _ => None,
    })
}

/// The type's function, if it is one or none.
fn optional_function<'a>(file: &'a syn::File, of: &'a syn::Type) -> Option<&'a syn::TypeBareFn> {
    let syn::Type::Path(of) = of else { return None };
    let segment = last(&of.path);
    let syn::PathArguments::AngleBracketed(inner) = &segment.arguments else {
        return None;
    };
    assert_eq!(segment.ident, "Option");
    match inner.args.first() {
        Some(syn::GenericArgument::Type(syn::Type::BareFn(function))) => Some(function),
        Some(syn::GenericArgument::Type(syn::Type::Path(named))) => {
            alias(file, &last(&named.path).ident.to_string())
        }
        _ => None,
    }
}

/// The declarations that the header must have, written from the code: every member with its type, every function with
/// its result and its parameters' types and names.
fn declarations() -> Vec<String> {
    let file = source("src/plugin/abi.rs");
    let mut all = vec![format!(
        "typedef {};",
        function_in_c("calbridge_done", alias(&file, "Done").unwrap())
    )];
    let mut structs = BTreeSet::new();
    for item in &file.items {
        let syn::Item::Struct(item) = item else {
            continue;
        };
        let name = item.ident.to_string();
        let mut text = "typedef struct { ".to_owned();
        for field in &item.fields {
            let member = field.ident.as_ref().unwrap().to_string();
            match optional_function(&file, &field.ty) {
                Some(function) => write!(text, "{}; ", function_in_c(&member, function)),
                None => write!(text, "{}{member}; ", in_c(&field.ty)),
            }
            .unwrap();
        }
        let of: syn::Type = syn::parse_str(&name).unwrap();
        write!(text, "}} {};", in_c(&of).trim_end()).unwrap();
        all.push(text);
        structs.insert(name);
    }
    assert_eq!(
        structs,
        ["Bytes", "HostV1", "PluginV1"].map(str::to_owned).into()
    );
    all
}

#[test]
fn the_header_declares_what_the_code_does() {
    let header = squeezed(&bare(&header()));
    for declaration in declarations() {
        assert!(
            header.contains(&declaration),
            "the header lacks: {declaration}"
        );
    }
    assert_eq!(header.matches("typedef ").count(), declarations().len());
}

/// The names of the methods, from the code.
fn method_names() -> Vec<String> {
    let file = source("src/plugin/messages.rs");
    let methods = file.items.iter().find_map(|item| match item {
        syn::Item::Mod(item) if item.ident == "method" => item.content.as_ref(),
        _ => None,
    });
    let names = methods.unwrap().1.iter().filter_map(|item| match item {
        syn::Item::Const(item) => Some(&*item.expr),
        _ => None,
    });
    names
        .map(|value| match value {
            syn::Expr::Lit(syn::ExprLit {
                lit: syn::Lit::Str(text),
                ..
            }) => text.value(),
            _ => panic!("a method's name is a text"),
        })
        .collect()
}

/// A method without schemas could not be called by anybody who has the published files alone; one that nobody answers
/// would be `unsupported` for ever.
#[tokio::test]
async fn each_method_has_its_schemas_and_is_answered() {
    let schemas = messages::schemas();
    let names = method_names();
    assert!(names.len() > 15, "{names:?}");
    let connection =
        ConnectorEntry::of::<Guest>().open(json!({"writable": true}), context("methods"));
    let dispatcher = Dispatcher::new(connection.unwrap());
    for name in names {
        for part in ["request", "answer"] {
            let file = format!("{name}.{part}");
            assert!(schemas.contains_key(file.as_str()), "no schema `{file}`");
        }
        let unknown = |error: Error| error.message.contains(&format!("the method `{name}`"));
        let answered = [
            dispatcher.call(&name, b"{}").await.is_err_and(unknown),
            library_call(&name, b"{}").is_err_and(unknown),
        ];
        assert_ne!(answered, [true, true], "nobody answers `{name}`");
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
