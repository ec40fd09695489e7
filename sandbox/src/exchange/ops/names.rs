//! ResolveNames.

use crate::exchange::access::Context;
use crate::exchange::soap::{EwsError, Outcome, answer, failure};
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
