//! `connectors`, apart from `new` and `test`.

use calbridge_core::connector::{self, ConnectorEntry, Manifest};
use serde::Serialize;

use crate::cli::{ConnectorsCommand, Global};
use crate::config;
use crate::error::AppError;
use crate::exit::Exit;
use crate::output::{Output, line, table};

use super::conformance;
use super::new_connector;
use super::reference;
use super::session::Session;

pub(super) async fn run(
    command: ConnectorsCommand,
    global: &Global,
    output: Output,
) -> Result<Exit, AppError> {
    if !matches!(command, ConnectorsCommand::New(_)) {
        load_plugins(global)?;
    }
    match command {
        ConnectorsCommand::List => {
            let all: Vec<Listed> = connector::connectors().iter().map(Listed::of).collect();
            output.show(&all, || list(&all))?;
        }
        ConnectorsCommand::New(args) => return new_connector::run(&args, output),
        ConnectorsCommand::Test(args) => return conformance::run(&args, output).await,
        // A schema is JSON in any case.
        ConnectorsCommand::Schema { id: None } => print(&config::whole_schema())?,
        ConnectorsCommand::Schema { id: Some(id) } => print(&named(&id)?.settings)?,
        // And a reference is Markdown.
        ConnectorsCommand::Docs { id: None } => line(&reference::page(
            Some(&config::whole_schema()),
            &manifests(),
        ))?,
        ConnectorsCommand::Docs { id: Some(id) } => {
            let page = reference::page(None, &[named(&id)?]);
            line(page.trim_start())?;
        }
    }
    Ok(Exit::Success)
}

/// A connector, and where it comes from.
#[derive(Serialize)]
struct Listed {
    #[serde(flatten)]
    manifest: Manifest,
    /// The library's path; none if it is compiled in.
    library: Option<String>,
    /// Where the library's code runs.
    isolation: Option<&'static str>,
}

impl Listed {
    fn of(entry: &&'static ConnectorEntry) -> Self {
        Self {
            manifest: entry.manifest(),
            library: entry.origin(),
            isolation: entry.isolation(),
        }
    }

    fn comes_from(&self) -> String {
        match (&self.library, self.isolation) {
            (Some(library), Some(isolation)) => format!("{library} ({isolation})"),
            _ => "compiled in".to_owned(),
        }
    }
}

fn manifests() -> Vec<Manifest> {
    let all = connector::connectors();
    all.iter().map(|entry| entry.manifest()).collect()
}

fn named(id: &str) -> Result<Manifest, AppError> {
    let found = connector::find(id).map(|entry| entry.manifest());
    found.ok_or_else(|| {
        let ids: Vec<String> = connector::connectors()
            .iter()
            .map(|entry| format!("`{}`", entry.id()))
            .collect();
        AppError::Usage(format!(
            "there is no connector `{id}`; there are {}",
            ids.join(", ")
        ))
    })
}

/// The libraries of the configuration, if there is one: what is linked in can be told without.
fn load_plugins(global: &Global) -> Result<(), AppError> {
    let sources = Session::sources(global);
    if global.config.is_some() || sources.file.exists() {
        config::load_plugins(&sources)?;
    }
    Ok(())
}

fn print(schema: &serde_json::Value) -> Result<(), AppError> {
    let text = serde_json::to_string_pretty(schema)
        .map_err(|error| AppError::Failed(format!("the schema is no JSON: {error}")))?;
    line(&text)
}

fn list(all: &[Listed]) -> String {
    let rows: Vec<Vec<String>> = all
        .iter()
        .map(|listed| {
            let manifest = &listed.manifest;
            let mut roles = Vec::new();
            if manifest.capabilities.source.is_some() {
                roles.push("source");
            }
            if manifest.capabilities.sink.is_some() {
                roles.push("sink");
            }
            if manifest.capabilities.roster {
                roles.push("roster");
            }
            vec![
                manifest.id.clone(),
                manifest.version.clone(),
                roles.join(", "),
                manifest.title.clone(),
                listed.comes_from(),
            ]
        })
        .collect();
    let header = ["CONNECTOR", "VERSION", "CAN BE", "WHAT IT IS", "COMES FROM"];
    table(&header, &rows)
}
