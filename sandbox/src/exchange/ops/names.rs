//! ResolveNames and ConvertId.

use crate::exchange::access::Context;
use crate::exchange::ids::{read_folder_id, read_item_id};
use crate::exchange::soap::{EwsError, Outcome, answer, failure, success};
use crate::exchange::xml::Element;

/// The most matches that the server gives.
const MOST: usize = 100;

/// EWS ResolveNames.
pub(super) fn resolve_names(context: &mut Context<'_>, request: &Element) -> Outcome {
    let entry = request
        .child_text("m:UnresolvedEntry")
        .unwrap_or_default()
        .trim()
        .to_lowercase();
    let exact = entry.strip_prefix("smtp:");
    let matches: Vec<_> = context
        .store
        .mailboxes
        .iter()
        .filter(|mailbox| !mailbox.disabled)
        .filter(|mailbox| {
            let addresses = std::iter::once(&mailbox.primary)
                .chain(&mailbox.aliases)
                .map(|address| address.to_lowercase());
            let mut addresses = addresses.into_iter();
            match exact {
                Some(exact) => addresses.any(|address| address == exact),
                None => {
                    addresses.any(|address| address.starts_with(&entry))
                        || mailbox
                            .name
                            .to_lowercase()
                            .split(' ')
                            .any(|word| word.starts_with(&entry))
                        || mailbox.name.to_lowercase().starts_with(&entry)
                }
            }
        })
        .collect();
    if matches.is_empty() {
        return Outcome::Answer(answer(
            "ResolveNames",
            [failure(
                "ResolveNames",
                &EwsError::of("ErrorNameResolutionNoResults"),
            )],
        ));
    }
    let several = matches.len() > 1;
    let set = Element::new("m:ResolutionSet")
        .attr("TotalItemsInView", matches.len().min(MOST).to_string())
        .attr(
            "IncludesLastItemInRange",
            (matches.len() <= MOST).to_string(),
        )
        .with_all(matches.iter().take(MOST).map(|mailbox| {
            Element::new("t:Resolution").with(
                Element::new("t:Mailbox")
                    .with(Element::text("t:Name", &mailbox.name))
                    .with(Element::text("t:EmailAddress", &mailbox.primary))
                    .with(Element::text("t:RoutingType", "SMTP"))
                    .with(Element::text("t:MailboxType", "Mailbox")),
            )
        }));
    let message = Element::new("m:ResolveNamesResponseMessage")
        .attr("ResponseClass", if several { "Warning" } else { "Success" });
    let message = if several {
        message.with_all(EwsError::of("ErrorNameResolutionMultipleResults").response_parts())
    } else {
        message.with(Element::text("m:ResponseCode", "NoError"))
    };
    Outcome::Answer(answer("ResolveNames", [message.with(set)]))
}

/// EWS ConvertId. Only the formats that this server has ids in can be converted; clients also use the operation to
/// learn the server's version.
pub(super) fn convert_id(request: &Element) -> Outcome {
    let destination = request.get("DestinationFormat").unwrap_or_default();
    let ids = request
        .child("m:SourceIds")
        .map(|list| list.children.as_slice())
        .unwrap_or_default();
    let messages = ids.iter().map(|id| {
        let text = id.get("Id").unwrap_or_default();
        if read_item_id(text).is_none() && read_folder_id(text).is_none() {
            return failure("ConvertId", &EwsError::of("ErrorInvalidIdMalformed"));
        }
        if destination != "EwsId" {
            let error = EwsError::new(
                "ErrorUnsupportedTypeForConversion",
                "The id cannot be converted to this format.",
            );
            return failure("ConvertId", &error);
        }
        let mut same = id.clone();
        same.name = "m:AlternateId".to_owned();
        let same = same
            .attr("xmlns:xsi", "http://www.w3.org/2001/XMLSchema-instance")
            .attr("xsi:type", "t:AlternateIdType");
        success("ConvertId", [same])
    });
    Outcome::Answer(answer("ConvertId", messages.collect::<Vec<_>>()))
}
