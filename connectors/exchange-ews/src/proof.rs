//! Whether the server expands series, by proof.

use calbridge_core::connector::{ChangesRequest, ErrorKind, Result};
use calbridge_core::model::{FieldSet, Window};
use jiff::SignedDuration;

use crate::map::{Doubts, Mapper, to_instant, uid};
use crate::request::{self, Properties};
use crate::response::{Item, ItemType};
use crate::source::{Expands, Inner};
use crate::window::is_damage;

/// How many masters are tried to prove whether the server expands series.
const PROOFS: usize = 4;

impl Inner {
    /// Asks the server for the first occurrence of a master that is known: the master in a view proves that
    /// it does not expand, an occurrence of that very series that it does. Anything else proves nothing: the
    /// first occurrence may be moved or deleted, and an occurrence of another series may be an item of its
    /// own, invited alone.
    pub(crate) async fn prove(
        &self,
        request: &ChangesRequest,
        folder: &str,
        masters: &[String],
    ) -> Result<Option<Expands>> {
        let calendar = &request.calendar;
        let ids = masters.get(..masters.len().min(PROOFS)).unwrap_or(masters);
        let properties = Properties::details(&FieldSet::times());
        let masters = self.get_items(calendar, ids, &properties).await?;
        let doubts = Doubts::default();
        let mapper = Mapper {
            zones: &self.zones,
            fields: &request.fields,
            expanded: false,
            doubts: &doubts,
        };
        for master in masters.into_iter().flatten().filter(Item::is_master) {
            let zone = mapper.zone_or_home(mapper.zone_of(&master).as_ref());
            let moment = SignedDuration::from_mins(1);
            let range = master
                .start
                .and_then(|at| to_instant(&zone, at))
                .and_then(|start| {
                    let from = start.checked_sub(moment).ok()?;
                    Window::new(from, start.checked_add(moment).ok()?).ok()
                });
            let (Some(range), Some(uid)) = (range, uid(&master)) else {
                continue;
            };
            let body = request::calendar_view(folder, &Properties::view(&FieldSet::times()), range);
            let view = match self.client.single(&calendar.address, &body).await {
                Ok(view) => view,
                Err(error) if error.kind == ErrorKind::Rejected || is_damage(&error) => continue,
                Err(error) => return Err(error),
            };
            if view.items.iter().any(Item::is_master) {
                tracing::info!(
                    calendar = calendar.handle(),
                    "The server does not expand series; calbridge does."
                );
                return Ok(Some(Expands::No));
            }
            let own = |item: &Item| {
                let occurrence = match item.item_type {
                    Some(ItemType::Occurrence | ItemType::Exception) => true,
                    None => item.recurrence_id.is_some(),
                    Some(_) => false,
                };
                occurrence && item.uid.as_deref() == Some(uid.as_str())
            };
            if view.items.iter().any(own) {
                return Ok(Some(Expands::Yes));
            }
        }
        Ok(None)
    }
}
