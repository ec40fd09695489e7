//! The layers merged, each value still knowing where it stands.

use figment::value::{Tag, Value as FigmentValue};
use figment::{Figment, Profile, Provider};
use serde_json::Value;

use super::layer::{Layer, Named};
use super::load::Layers;
use super::mistake::{ConfigError, Place};
use super::path::{KeyPath, Step};

/// The layers merged, each value still knowing its layer.
pub(super) struct Merged {
    layers: Vec<Layer>,
    figment: Figment,
    root: FigmentValue,
    /// What all layers come to.
    pub(super) json: Value,
}

impl Merged {
    pub(super) fn new(layers: Layers) -> Result<Self, ConfigError> {
        let broken =
            |error: String| ConfigError::general(None, format!("cannot be read: {error}"), None);
        let mut figment = Figment::new();
        for (at, (layer, add)) in layers.iter().enumerate() {
            let named = Named(at, layer);
            figment = if *add {
                figment.admerge(named)
            } else {
                figment.merge(named)
            };
        }
        let root = figment
            .data()
            .map_err(|error| broken(error.to_string()))?
            .remove(&Profile::Default)
            .unwrap_or_default();
        let json = serde_json::to_value(&root).map_err(|error| broken(error.to_string()))?;
        Ok(Self {
            layers: layers.into_iter().map(|(layer, _)| layer).collect(),
            figment,
            root: FigmentValue::Dict(Tag::Default, root),
            json,
        })
    }

    /// The layer that has the last word on a key, and the key's path in that layer.
    pub(super) fn origin(&self, path: &KeyPath) -> Option<(&Layer, KeyPath)> {
        let mut value = &self.root;
        let mut inside = KeyPath::default();
        for step in &path.0 {
            match (step, value) {
                (Step::Key(key), FigmentValue::Dict(_, table)) => {
                    inside = inside.key(key);
                    match table.get(key) {
                        Some(next) => value = next,
                        None => break,
                    }
                }
                (Step::Index(index), FigmentValue::Array(_, items)) => {
                    let Some(next) = items.get(*index) else {
                        break;
                    };
                    // Lists of several files were put together: count within the item's own.
                    let before = items
                        .iter()
                        .take(*index)
                        .filter(|item| self.layer_of(item) == self.layer_of(next))
                        .count();
                    inside = inside.index(before);
                    value = next;
                }
                _ => break,
            }
        }
        let layer = self.layer_of(value)?;
        Some((self.layers.get(layer)?, inside))
    }

    fn layer_of(&self, value: &FigmentValue) -> Option<usize> {
        // A merged table has no layer of its own: any part of it tells where it is written.
        if let Some(metadata) = self.figment.get_metadata(value.tag()) {
            return metadata.name.parse().ok();
        }
        match value {
            FigmentValue::Dict(_, table) => table.values().find_map(|part| self.layer_of(part)),
            FigmentValue::Array(_, items) => items.iter().find_map(|part| self.layer_of(part)),
            _ => None,
        }
    }

    pub(super) fn place(&self, path: &KeyPath) -> Option<Place> {
        match self.origin(path) {
            Some((layer, inside)) => layer.place(&inside),
            None => self.layers.first()?.place(&KeyPath::default()),
        }
    }
}
