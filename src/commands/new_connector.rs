//! `connectors new`: writes a connector crate to begin with. It is `examples/rota` under another name.

use std::fs;
use std::path::Path;

use calbridge_core::connector;
use serde::Serialize;

use crate::cli::NewConnectorArgs;
use crate::error::AppError;
use crate::exit::Exit;
use crate::output::Output;

/// The files, as `examples/rota` holds them.
const TEMPLATE: &[(&str, &str)] = &[
    ("Cargo.toml", include_str!("../../examples/rota/Cargo.toml")),
    ("README.md", include_str!("../../examples/rota/README.md")),
    ("src/lib.rs", include_str!("../../examples/rota/src/lib.rs")),
    (
        "src/connection.rs",
        include_str!("../../examples/rota/src/connection.rs"),
    ),
    (
        "src/files.rs",
        include_str!("../../examples/rota/src/files.rs"),
    ),
    (
        "src/settings.rs",
        include_str!("../../examples/rota/src/settings.rs"),
    ),
    (
        "src/shift.rs",
        include_str!("../../examples/rota/src/shift.rs"),
    ),
    (
        "src/sink.rs",
        include_str!("../../examples/rota/src/sink.rs"),
    ),
    (
        "src/source.rs",
        include_str!("../../examples/rota/src/source.rs"),
    ),
    (
        "tests/conformance.rs",
        include_str!("../../examples/rota/tests/conformance.rs"),
    ),
];

#[derive(Debug, Serialize)]
struct Written {
    folder: String,
    files: Vec<&'static str>,
}

pub(super) fn run(args: &NewConnectorArgs, output: Output) -> Result<Exit, AppError> {
    let name = Name::new(&args.name)?;
    let folder = args
        .folder
        .clone()
        .unwrap_or_else(|| args.name.clone().into());
    if fs::read_dir(&folder).is_ok_and(|mut inside| inside.next().is_some()) {
        return Err(AppError::Usage(format!(
            "there is something in `{}` already; nothing was written",
            folder.display()
        )));
    }
    let checkout = match &args.core {
        None => None,
        Some(core) => Some(checkout(core)?),
    };
    for (file, text) in TEMPLATE {
        let path = folder.join(file);
        let text = depend(&name.give(text), checkout.as_deref());
        let written = path
            .parent()
            .map_or(Ok(()), fs::create_dir_all)
            .and_then(|()| fs::write(&path, text));
        written.map_err(|error| {
            AppError::Failed(format!("`{}` cannot be written: {error}", path.display()))
        })?;
    }
    let written = Written {
        folder: folder.display().to_string(),
        files: TEMPLATE.iter().map(|(file, _)| *file).collect(),
    };
    output.show(&written, || {
        format!(
            "A connector that works is in `{}`; its README.md tells how it is tested, built and loaded.\n\nNext:\n  cd {0}\n  cargo test",
            written.folder
        )
    })?;
    Ok(Exit::Success)
}

/// The folder of calbridge's own crates, as text that may stand in a manifest.
fn checkout(folder: &Path) -> Result<String, AppError> {
    let usage = |why: String| AppError::Usage(format!("`--core {}`: {why}", folder.display()));
    let folder = folder
        .canonicalize()
        .map_err(|error| usage(error.to_string()))?;
    if !folder.join("core/Cargo.toml").is_file() {
        return Err(usage(
            "this is no checkout of calbridge (there is no `core/Cargo.toml` in it)".to_owned(),
        ));
    }
    match folder.to_str() {
        // Windows: a manifest takes `/`, and no `\\?\`.
        Some(text) => Ok(text.trim_start_matches(r"\\?\").replace('\\', "/")),
        None => Err(usage("the path is not Unicode".to_owned())),
    }
}

/// Where calbridge's crates come from: a checkout, or the repository at this program's version.
fn depend(text: &str, checkout: Option<&str>) -> String {
    match checkout {
        Some(folder) => text.replace("path = \"../../", &format!("path = \"{folder}/")),
        None => {
            let from = concat!(
                "git = \"",
                env!("CARGO_PKG_REPOSITORY"),
                "\", tag = \"v",
                env!("CARGO_PKG_VERSION"),
                "\""
            );
            text.replace("path = \"../../core\"", from)
                .replace("path = \"../../conformance\"", from)
        }
    }
}

/// A connector's name in the three ways in which it is written.
struct Name {
    /// In configuration, texts and codes: `time-board`.
    plain: String,
    /// As a crate and a file: `time_board`.
    snake: String,
    /// As a type: `TimeBoard`.
    camel: String,
}

impl Name {
    fn new(name: &str) -> Result<Self, AppError> {
        let words: Vec<&str> = name.split('-').collect();
        let good = |word: &&str| {
            !word.is_empty()
                && word
                    .chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
        };
        if !words.iter().all(good) || !name.starts_with(|c: char| c.is_ascii_lowercase()) {
            return Err(AppError::Usage(format!(
                "`{name}` cannot be a connector's name; take lower-case letters, digits and single hyphens, for example `time-board`"
            )));
        }
        if connector::find(name).is_some() || TAKEN.contains(&name) {
            return Err(AppError::Usage(format!(
                "the name `{name}` is taken; choose another one"
            )));
        }
        let capital = |word: &&str| {
            let (first, rest) = word.split_at(1);
            first.to_ascii_uppercase() + rest
        };
        let name = Self {
            plain: name.to_owned(),
            snake: words.join("_"),
            camel: words.iter().map(capital).collect(),
        };
        if name.stands_in_the_template() {
            return Err(AppError::Usage(format!(
                "the name `{}` is taken by something that every connector uses; choose another one",
                name.plain
            )));
        }
        Ok(name)
    }

    /// Whether it is one of the crates that the template depends on, or of the words that its `lib.rs` uses.
    fn stands_in_the_template(&self) -> bool {
        let text = |of: &str| TEMPLATE.iter().find(|(file, _)| *file == of);
        let (manifest, lib) = (text("Cargo.toml"), text("src/lib.rs"));
        let dependencies = [format!("{} = ", self.plain), format!("{} = ", self.snake)];
        let depended_on = |line: &str| dependencies.iter().any(|one| line.starts_with(one));
        manifest.is_some_and(|(_, text)| text.lines().any(depended_on))
            || lib.is_some_and(|(_, text)| {
                let code = text.lines().filter(|line| !line.starts_with("//"));
                code.flat_map(|line| line.split(|c: char| !c.is_alphanumeric() && c != '_'))
                    .any(|word| word == self.camel && word != "Rota")
            })
    }

    /// The text with this name. By way of signs that stand in no text: the name itself may hold the example's.
    fn give(&self, text: &str) -> String {
        text.replace("librota", "lib\u{1}")
            .replace("rota.dll", "\u{1}.dll")
            .replace("use rota ", "use \u{1} ")
            .replace("rota::", "\u{1}::")
            .replace("Rota", "\u{2}")
            .replace("rota", "\u{3}")
            .replace('\u{1}', &self.snake)
            .replace('\u{2}', &self.camel)
            .replace('\u{3}', &self.plain)
    }
}

/// Words of Rust and Cargo, and names in the template: none can be a crate here.
const TAKEN: &[&str] = &[
    "abstract",
    "alloc",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "calbridge",
    "capabilities",
    "connection",
    "connector",
    "const",
    "context",
    "continue",
    "core",
    "crate",
    "do",
    "dyn",
    "else",
    "enum",
    "extern",
    "false",
    "field",
    "files",
    "final",
    "fn",
    "for",
    "gen",
    "if",
    "impl",
    "in",
    "jiff",
    "let",
    "loop",
    "macro",
    "match",
    "mod",
    "move",
    "mut",
    "override",
    "priv",
    "proc-macro",
    "pub",
    "ref",
    "result",
    "return",
    "schemars",
    "self",
    "serde",
    "settings",
    "shift",
    "sink",
    "source",
    "static",
    "std",
    "struct",
    "super",
    "test",
    "tokio",
    "trait",
    "true",
    "try",
    "type",
    "typeof",
    "unsafe",
    "unsized",
    "use",
    "virtual",
    "where",
    "while",
    "yield",
];
