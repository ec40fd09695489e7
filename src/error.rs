//! Errors of the program: what happened, what to do, and the exit code.

use calbridge_core::connector;
use calbridge_core::store::StoreError;

use crate::config::ConfigError;
use crate::exit::Exit;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AppError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// An argument is wrong.
    #[error("{0}")]
    Usage(String),
    /// The state file cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A connection cannot be used.
    #[error("connection `{connection}`: {error}")]
    Connection {
        /// Which.
        connection: String,
        /// Why.
        error: connector::Error,
    },
    /// Something else.
    #[error("{0}")]
    Failed(String),
    /// The result could not be written.
    #[error("the result cannot be written: {0}")]
    Output(#[from] std::io::Error),
}

impl AppError {
    /// The exit code.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Config(_) | Self::Usage(_) => Exit::Usage,
            Self::Connection { error, .. } if error.kind == connector::ErrorKind::Config => {
                Exit::Usage
            }
            Self::Connection { .. } => Exit::Connection,
            Self::Store(_) => Exit::State,
            Self::Failed(_) | Self::Output(_) => Exit::Failed,
        }
    }

    /// As a JSON document.
    pub(crate) fn document(&self) -> serde_json::Value {
        let mistakes = match self {
            Self::Config(error) => error
                .mistakes
                .iter()
                .map(|mistake| {
                    serde_json::json!({
                        "place": mistake.place.as_ref().map(ToString::to_string),
                        "key": mistake.key,
                        "message": mistake.message,
                        "help": mistake.help,
                    })
                })
                .collect(),
            _ => Vec::new(),
        };
        let mut error = serde_json::json!({
            "exit": self.exit().name(),
            "message": self.to_string(),
        });
        if let Some(table) = error.as_object_mut() {
            if !mistakes.is_empty() {
                table.insert("mistakes".to_owned(), mistakes.into());
            }
            if let Self::Connection { connection, error } = self {
                table.insert("connection".to_owned(), connection.clone().into());
                table.insert("code".to_owned(), error.code.clone().into());
            }
        }
        serde_json::json!({ "error": error })
    }
}
