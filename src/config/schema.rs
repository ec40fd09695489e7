//! JSON Schemas: of the program's own sections, and of a whole configuration file.

use calbridge_core::connector::connectors;
use calbridge_core::engine::SyncConfig;
use calbridge_core::plugin::host::PluginSettings;
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{LogConfig, StateConfig};

/// The root of a configuration file, connections left open: what is checked before the connectors are asked.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
#[allow(dead_code, reason = "read by schemars alone")]
struct Root {
    /// The connections, each under a name of your choice.
    connections: std::collections::BTreeMap<String, ConnectionRoot>,
    /// Libraries with further connectors, each under a name of your choice.
    plugins: std::collections::BTreeMap<String, PluginSettings>,
    /// What is kept in step.
    sync: Vec<SyncConfig>,
    /// Where calbridge remembers what it knows.
    state: StateConfig,
    /// What is logged.
    log: LogConfig,
}

/// A connection: the connector's name, and the connector's settings.
#[derive(Deserialize, JsonSchema)]
#[allow(dead_code, reason = "read by schemars alone")]
struct ConnectionRoot {
    /// The connector (`calbridge connectors list` names them). The other keys are its settings.
    connector: String,
    /// The most writes that are sent to it within 24 hours, counted by the hour: a brake on whatever runs wild. What is more
    /// waits, and `calbridge status` tells so. Default: no limit.
    budget: Option<u64>,
}

/// The schema of the root; connections may hold anything besides `connector`.
pub(crate) fn root() -> Value {
    let mut schema = SchemaSettings::draft2020_12()
        .for_deserialize()
        .into_generator()
        .into_root_schema_for::<Root>()
        .to_value();
    for (definition, key, least, most) in RANGES {
        let number = schema
            .pointer_mut(&format!("/$defs/{definition}/properties/{key}"))
            .and_then(Value::as_object_mut);
        if let Some(number) = number {
            number.insert("minimum".to_owned(), json!(least));
            number.insert("maximum".to_owned(), json!(most));
        }
    }
    if let Some(path) = schema
        .pointer_mut("/$defs/StateConfig/properties/path")
        .and_then(Value::as_object_mut)
    {
        path.insert("minLength".to_owned(), json!(1));
    }
    schema
}

/// Longest retention: a hundred years.
const LONGEST: u32 = 36_500;

/// What numbers of the engine's and the store's own settings make sense. A retention of nothing would forget what
/// the next round needs.
const RANGES: [(&str, &str, u32, u32); 8] = [
    ("GuardLimits", "percent", 0, 100),
    ("GuardLimits", "calendars_percent", 0, 100),
    ("GuardLimits", "count", 0, u32::MAX),
    ("GuardLimits", "empty_above", 0, u32::MAX),
    ("ConnectionRoot", "budget", 1, u32::MAX),
    ("Retention", "rows_days", 1, LONGEST),
    ("Retention", "calls_days", 1, LONGEST),
    ("Retention", "leavers_days", 1, LONGEST),
];

/// The schema of a whole configuration file, with the settings of all connectors: for editors.
pub(crate) fn whole() -> Value {
    let mut schema = root();
    let mut definitions = serde_json::Map::new();
    let mut cases = Vec::new();
    let mut names = Vec::new();
    for entry in connectors() {
        let id = entry.id();
        let urn = format!("urn:calbridge:connector:{id}");
        let mut settings = entry.manifest().settings;
        if let Some(table) = settings.as_object_mut() {
            table.insert("$id".to_owned(), json!(urn));
            table.remove("$schema");
            if let Some(properties) = table
                .entry("properties")
                .or_insert_with(|| json!({}))
                .as_object_mut()
            {
                properties.insert("connector".to_owned(), json!({ "const": id }));
                properties.insert("budget".to_owned(), json!(true));
            }
        }
        definitions.insert(format!("connector {id}"), settings);
        cases.push(json!({
            "if": { "properties": { "connector": { "const": id } } },
            "then": { "$ref": urn }
        }));
        names.push(id);
    }
    if let Some(defs) = schema.get_mut("$defs").and_then(Value::as_object_mut) {
        defs.append(&mut definitions);
        if let Some(connection) = defs
            .get_mut("ConnectionRoot")
            .and_then(Value::as_object_mut)
        {
            connection.insert("allOf".to_owned(), json!(cases));
            if let Some(connector) = connection
                .get_mut("properties")
                .and_then(|properties| properties.get_mut("connector"))
                .and_then(Value::as_object_mut)
            {
                connector.insert("enum".to_owned(), json!(names));
            }
        }
    }
    if let Some(table) = schema.as_object_mut() {
        table.insert("title".to_owned(), json!("Configuration of calbridge"));
        table.insert(
            "description".to_owned(),
            json!("A configuration file, or one of conf.d, in TOML."),
        );
    }
    schema
}
