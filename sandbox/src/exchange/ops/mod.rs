//! The operations.

mod fields;
mod find;
mod folder;
mod get_item;
mod names;
mod restriction;
mod sync;
mod write;
mod zones;

use super::access::Context;
use super::soap::{EwsError, Outcome};
use super::xml::Element;

/// Runs an operation by its element name.
pub(crate) fn run(context: &mut Context<'_>, request: &Element) -> Outcome {
    match request.local() {
        "GetFolder" => folder::get_folder(context, request),
        "FindFolder" => folder::find_folder(context, request),
        "SyncFolderItems" => sync::sync_folder_items(context, request),
        "GetItem" => get_item::get_item(context, request),
        "FindItem" => find::find_item(context, request),
        "ConvertId" => names::convert_id(request),
        "ResolveNames" => names::resolve_names(context, request),
        "GetServerTimeZones" if !context.profile.is_gromox() => {
            zones::get_server_time_zones(request)
        }
        "CreateItem" => write::create_item(context, request),
        "UpdateItem" => write::update_item(context, request),
        "DeleteItem" => write::delete_item(context, request),
        other => unknown(other),
    }
}

/// The fault for an operation that does not exist (or is not played by this server).
pub(crate) fn unknown(operation: &str) -> Outcome {
    EwsError::new(
        "ErrorInvalidRequest",
        format!("The request is invalid. Unknown request: {operation}."),
    )
    .into()
}
