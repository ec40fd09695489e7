//! Whether a series changed, where SyncFolderItems may not tell.
//!
//! On servers that do not expand, a changed exception may leave the master's change key as it was; its
//! `LastModifiedTime` moves. A fingerprint of the masters stands in the cursor and is compared. One page of the
//! items that were changed last is enough to see any change, however large the folder: what changes comes to
//! the front. Items that are stamped ahead of our clock would keep it from there, so they are read past.

use calbridge_core::connector::{ChangesRequest, Result};
use jiff::Timestamp;

use crate::error::WireError;
use crate::request::{self, LATEST_PAGE};
use crate::response::{Item, ItemType};
use crate::source::Inner;

impl Inner {
    /// The fingerprint of the folder's masters as they are now.
    pub(crate) async fn print_of_masters(
        &self,
        request: &ChangesRequest,
        folder: &str,
    ) -> Result<String> {
        let mut items: Vec<Item> = Vec::new();
        let mut offset = 0;
        let complete = loop {
            let body = request::latest(folder, offset);
            let page = self
                .client
                .single(&request.calendar.address, &body)
                .await?
                .page()?;
            let count = page.items.len();
            items.extend(page.items);
            if page.includes_last == Some(true) || count == 0 {
                break true;
            }
            if reaches_back(&items, request.now) {
                break false;
            }
            let passed = u32::try_from(count).unwrap_or(u32::MAX);
            let next = page.next_offset.unwrap_or(offset.saturating_add(passed));
            if next <= offset {
                return Err(WireError::Missing("the rest of a listing").of("FindItem"));
            }
            offset = next;
        };
        Ok(fingerprint(&items, complete, request.now))
    }
}

/// Whether the items reach back to before `now`. Never for a server that does not sort.
fn reaches_back(items: &[Item], now: Timestamp) -> bool {
    let whole_pages = items.len() / LATEST_PAGE * LATEST_PAGE;
    let edge = whole_pages.checked_sub(1).and_then(|last| items.get(last));
    items.is_sorted_by(|one, next| one.modified >= next.modified)
        && edge.is_some_and(|item| item.modified.is_some_and(|at| at <= now))
}

/// What tells one state of the masters from another. `items` are all of the folder (`complete`), or those that
/// were changed last, as far as [`reaches_back`] asks for: the same comes of both.
pub(crate) fn fingerprint(items: &[Item], complete: bool, now: Timestamp) -> String {
    let mut items: Vec<&Item> = items.iter().collect();
    items.sort_by_key(|item| std::cmp::Reverse(item.modified));
    let is_ahead = |item: &Item| item.modified.is_none_or(|at| at > now);
    let mut reach = LATEST_PAGE;
    while let Some(edge) = items.get(reach - 1)
        && reach < items.len()
        && is_ahead(edge)
    {
        reach += LATEST_PAGE;
    }
    let edge = items.get(reach - 1).and_then(|item| item.modified);
    if reach < items.len() || !complete {
        // Which of several with the edge's time lie inside is the server's whim.
        items.retain(|item| item.modified > edge);
    }
    let mut lines: Vec<String> = items
        .iter()
        // A type that is not told may be any.
        .filter(|item| {
            item.item_type
                .is_none_or(|kind| kind == ItemType::RecurringMaster)
        })
        .map(|item| {
            let key = item.change_key.as_deref().unwrap_or_default();
            let at = item.modified.map(|at| at.to_string()).unwrap_or_default();
            format!("{}\n{key}\n{at}\n", item.id)
        })
        .collect();
    lines.sort_unstable();
    let hash = blake3::hash(lines.concat().as_bytes()).to_hex();
    hash.chars().take(32).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-11-20T08:00:00Z".parse().unwrap()
    }

    /// The `n`-th master; changed so many seconds after `now`.
    fn master(n: usize, seconds: i64) -> Item {
        Item {
            id: format!("M{n}"),
            change_key: Some("c".into()),
            item_type: Some(ItemType::RecurringMaster),
            modified: Timestamp::from_second(now().as_second() + seconds).ok(),
            ..Item::default()
        }
    }

    /// As [`Inner::print_of_masters`] reads them from a server that sorts.
    fn read(items: &[Item]) -> String {
        let mut all = items.to_vec();
        all.sort_by_key(|item| std::cmp::Reverse(item.modified));
        let mut front = Vec::new();
        for page in all.chunks(LATEST_PAGE) {
            front.extend_from_slice(page);
            if reaches_back(&front, now()) {
                break;
            }
        }
        fingerprint(&front, front.len() == all.len(), now())
    }

    #[test]
    fn the_front_and_the_whole_folder_give_the_same() {
        for count in [0, 1, 249, 250, 251, 500, 760] {
            for ahead in [0, 1, 249, 250, 400] {
                let items: Vec<Item> = (0..count)
                    .map(|n| {
                        let seconds = i64::try_from(n / 3).unwrap();
                        master(n, if n < ahead { 1 + seconds } else { -seconds })
                    })
                    .collect();
                let whole = fingerprint(&items, true, now());
                assert_eq!(whole, read(&items), "{count} {ahead}");
            }
        }
    }

    #[test]
    fn any_changed_master_shows_however_many_are_stamped_ahead() {
        for ahead in [0, 1, 300] {
            let mut items: Vec<Item> = (0..900)
                .map(|n| master(n, if n < ahead { 86_400 } else { -1_000 }))
                .collect();
            let before = read(&items);
            *items.last_mut().unwrap() = master(899, -1);
            assert_ne!(read(&items), before, "{ahead}");
        }
    }

    #[test]
    fn singles_and_order_do_not_matter_and_change_keys_do() {
        let mut single = master(7, -5);
        single.item_type = Some(ItemType::Single);
        let print = |items: &[Item]| fingerprint(items, true, now());
        let two = [master(1, -9), master(2, -8)];
        assert_eq!(
            print(&[two[1].clone(), single, two[0].clone()]),
            print(&two)
        );
        let mut saved = two.clone();
        saved[0].change_key = Some("d".into());
        assert_ne!(print(&saved), print(&two));
    }

    #[test]
    fn a_server_that_does_not_sort_or_tells_no_times_is_read_to_the_end() {
        let unsorted: Vec<Item> = (0..300)
            .map(|n| master(n, -1 - i64::try_from(n % 7).unwrap()))
            .collect();
        assert!(!reaches_back(&unsorted, now()));
        let untold = vec![Item::default(); 300];
        assert!(!reaches_back(&untold, now()));
    }
}
