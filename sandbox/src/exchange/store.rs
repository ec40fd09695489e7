//! The mail store: mailboxes, folders with their change logs, items, and every way to change them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::DateTime;

use super::ids::{SyncState, change_key, item_id};
use super::item::{Appointment, Exception, Folder, Item, NewItem, Person, Series};
use super::notify::{Event, EventKind, HOME, Notifier};
use super::recurrence::{Recurrence, SeriesRule};

/// Why the store refused a change.
#[derive(Debug, thiserror::Error, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreError {
    /// There is no mailbox with this address.
    #[error("no mailbox has this address: add it first")]
    NoMailbox,
    /// The address is taken.
    #[error("another mailbox already has this address")]
    AddressTaken,
    /// There is no such item (any more).
    #[error("there is no such item: it may have been moved or deleted")]
    NoItem,
    /// The item is not a series.
    #[error("the item is not a series")]
    NotASeries,
    /// The series has no occurrence with this original start.
    #[error("the series has no occurrence with this original start")]
    NoOccurrence,
    /// The end lies before the start.
    #[error("the end lies before the start")]
    EndBeforeStart,
    /// The series never happens.
    #[error("the recurrence has no occurrence")]
    EmptySeries,
}

/// What kind of mailbox it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailboxKind {
    /// A person.
    Person,
    /// A room.
    Room,
}

/// A mailbox.
#[derive(Debug, Clone)]
pub(crate) struct Mailbox {
    pub(crate) name: String,
    pub(crate) primary: String,
    pub(crate) aliases: Vec<String>,
    pub(crate) kind: MailboxKind,
    pub(crate) disabled: bool,
    /// The mailbox server that holds it.
    pub(crate) server: usize,
    /// Raised to make every SyncState that was handed out invalid.
    pub(crate) epoch: u64,
    pub(crate) folders: BTreeMap<Folder, FolderState>,
    /// Items that a hard delete took, for undelete.
    pub(crate) dumpster: Vec<Item>,
    /// How many items clients can fill it with.
    pub(crate) quota: Option<usize>,
}

/// A folder's contents as a change log sees them.
#[derive(Debug, Clone, Default)]
pub(crate) struct FolderState {
    /// Live items with every change number they had in this folder, ascending.
    pub(crate) live: BTreeMap<u64, Vec<u64>>,
    /// Items that left.
    pub(crate) gone: Vec<Gone>,
    /// How many items ever left (PR_DELETED_COUNT_TOTAL).
    pub(crate) deleted_total: u32,
    /// When the folder last changed (PR_LOCAL_COMMIT_TIME_MAX).
    pub(crate) committed: Option<Timestamp>,
}

/// A tombstone.
#[derive(Debug, Clone)]
pub(crate) struct Gone {
    pub(crate) item: u64,
    /// The number it had first.
    pub(crate) origin: u64,
    pub(crate) changes: Vec<u64>,
    pub(crate) change: u64,
}

/// One entry of a folder's change feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Create(u64),
    Update(u64),
    Delete { item: u64, change: u64 },
}

/// The server's clock.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Clock {
    fixed: Option<Timestamp>,
}

impl Clock {
    pub(crate) fn now(&self) -> Timestamp {
        self.fixed.unwrap_or_else(Timestamp::now)
    }
}

/// Everything the server holds.
#[derive(Debug, Default)]
pub(crate) struct Store {
    pub(crate) mailboxes: Vec<Mailbox>,
    pub(crate) items: BTreeMap<u64, Item>,
    pub(crate) clock: Clock,
    /// Whether a change to one occurrence raises the master's change number (it does; gromox forgets it).
    pub(crate) exceptions_touch_master: bool,
    /// Is told of every change.
    pub(crate) notifier: Arc<Notifier>,
    /// Which mailbox database it is; where every mailbox's epoch begins.
    database: u64,
    next_item: u64,
    change: u64,
}

impl Store {
    pub(crate) fn new(exceptions_touch_master: bool, database: u64) -> Self {
        Store {
            exceptions_touch_master,
            database,
            next_item: 2,
            change: 0x4_0000,
            ..Store::default()
        }
    }

    /// The last change number that was given out.
    pub(crate) fn last_change(&self) -> u64 {
        self.change
    }

    pub(crate) fn set_clock(&mut self, now: Option<Timestamp>) {
        self.clock.fixed = now;
    }

    pub(crate) fn add_mailbox(
        &mut self,
        name: &str,
        address: &str,
        kind: MailboxKind,
    ) -> Result<usize, StoreError> {
        if self.find_mailbox(address).is_some() {
            return Err(StoreError::AddressTaken);
        }
        let folders = Folder::ALL
            .into_iter()
            .map(|folder| (folder, FolderState::default()))
            .collect();
        self.mailboxes.push(Mailbox {
            name: name.to_owned(),
            primary: address.to_owned(),
            aliases: Vec::new(),
            kind,
            disabled: false,
            server: HOME,
            epoch: self.database,
            folders,
            dumpster: Vec::new(),
            quota: None,
        });
        Ok(self.mailboxes.len() - 1)
    }

    /// The mailbox with this primary address or alias.
    pub(crate) fn find_mailbox(&self, address: &str) -> Option<usize> {
        self.mailboxes.iter().position(|mailbox| {
            mailbox.primary.eq_ignore_ascii_case(address)
                || mailbox
                    .aliases
                    .iter()
                    .any(|alias| alias.eq_ignore_ascii_case(address))
        })
    }

    pub(crate) fn mailbox_number(&self, address: &str) -> Result<usize, StoreError> {
        self.find_mailbox(address).ok_or(StoreError::NoMailbox)
    }

    /// The mailbox with this address, and its number.
    pub(crate) fn mailbox_at(
        &mut self,
        address: &str,
    ) -> Result<(usize, &mut Mailbox), StoreError> {
        let number = self.mailbox_number(address)?;
        let mailbox = self.mailboxes.get_mut(number);
        mailbox
            .map(|mailbox| (number, mailbox))
            .ok_or(StoreError::NoMailbox)
    }

    pub(crate) fn mailbox(&self, number: usize) -> Option<&Mailbox> {
        self.mailboxes.get(number)
    }

    pub(crate) fn item(&self, number: u64) -> Result<&Item, StoreError> {
        self.items.get(&number).ok_or(StoreError::NoItem)
    }

    /// Whether a client can put nothing more into a mailbox.
    pub(crate) fn is_full(&self, mailbox: usize) -> bool {
        let owner = self.mailboxes.get(mailbox);
        owner.is_some_and(|owner| {
            let held = owner.folders.values().map(|state| state.live.len());
            owner
                .quota
                .is_some_and(|quota| held.sum::<usize>() >= quota)
        })
    }

    /// Items of a folder, oldest first.
    pub(crate) fn items_in(&self, mailbox: usize, folder: Folder) -> impl Iterator<Item = &Item> {
        self.mailboxes
            .get(mailbox)
            .and_then(|mailbox| mailbox.folders.get(&folder))
            .into_iter()
            .flat_map(|state| state.live.keys())
            .filter_map(|number| self.items.get(number))
    }

    fn tell(&self, kind: EventKind, item: &Item, old: Option<(u64, Folder)>) {
        let event = Event {
            kind,
            at: self.clock.now(),
            mailbox: item.mailbox,
            folder: item.folder,
            item: Some((item.number, item.change)),
            old,
        };
        self.notifier.tell(event.with_echoes(self.notifier.profile));
    }

    fn next_change(&mut self) -> u64 {
        self.change += 1;
        self.change
    }

    fn enter(&mut self, item: &Item) {
        let now = self.clock.now();
        if let Some(state) = self
            .mailboxes
            .get_mut(item.mailbox)
            .and_then(|mailbox| mailbox.folders.get_mut(&item.folder))
        {
            state.live.entry(item.number).or_default().push(item.change);
            state.committed = Some(now);
        }
    }

    fn leave(&mut self, mailbox: usize, folder: Folder, item: u64, origin: u64) {
        let change = self.next_change();
        let now = self.clock.now();
        if let Some(state) = self
            .mailboxes
            .get_mut(mailbox)
            .and_then(|mailbox| mailbox.folders.get_mut(&folder))
            && let Some(changes) = state.live.remove(&item)
        {
            state.gone.push(Gone {
                item,
                origin,
                changes,
                change,
            });
            state.deleted_total += 1;
            state.committed = Some(now);
        }
    }

    /// Puts a new item into a mailbox.
    pub(crate) fn create(&mut self, mailbox: usize, new: NewItem) -> Result<u64, StoreError> {
        let owner = self.mailboxes.get(mailbox).ok_or(StoreError::NoMailbox)?;
        let organizer = Person::new(&owner.name, &owner.primary);
        let NewItem {
            mut appointment,
            uid,
            series,
            lone_original,
            folder,
        } = new;
        check_times(&appointment)?;
        if appointment.organizer.is_none() {
            appointment.organizer = Some(organizer);
        }
        let number = self.next_item;
        self.next_item += 1;
        let change = self.next_change();
        let now = self.clock.now();
        let mut item = Item {
            number,
            origin: number,
            mailbox,
            folder,
            uid: uid.unwrap_or_else(|| outlook_uid(number)),
            change,
            created: now,
            modified: now,
            appointment,
            series: None,
            lone_original,
        };
        item.set_rule(series)?;
        self.enter(&item);
        self.tell(EventKind::Created, &item, None);
        self.items.insert(number, item);
        Ok(number)
    }

    /// Changes an item in place: new change key, new modification time, an entry in the change log.
    pub(crate) fn update<T>(
        &mut self,
        number: u64,
        edit: impl FnOnce(&mut Item) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut item = self.item(number)?.clone();
        let result = edit(&mut item)?;
        check_times(&item.appointment)?;
        self.save(item);
        Ok(result)
    }

    fn save(&mut self, mut item: Item) {
        item.change = self.next_change();
        item.modified = self.clock.now();
        self.enter(&item);
        self.tell(EventKind::Modified, &item, None);
        self.items.insert(item.number, item);
    }

    /// Edits one occurrence, which becomes an exception.
    pub(crate) fn update_occurrence(
        &mut self,
        number: u64,
        slot: DateTime,
        edit: impl FnOnce(&mut Appointment),
    ) -> Result<(), StoreError> {
        let mut item = self.item(number)?.clone();
        let mut appointment = match (&item.series, item.instance(slot)) {
            (None, _) => return Err(StoreError::NotASeries),
            (Some(_), None) => return Err(StoreError::NoOccurrence),
            (Some(_), Some(instance)) => instance.appointment,
        };
        edit(&mut appointment);
        check_times(&appointment)?;
        let change = self.next_change();
        let modified = self.clock.now();
        if let Some(series) = &mut item.series {
            series.exceptions.insert(
                slot,
                Exception {
                    appointment,
                    change,
                    modified,
                },
            );
        }
        self.save_series(item);
        Ok(())
    }

    /// Deletes one occurrence.
    pub(crate) fn delete_occurrence(
        &mut self,
        number: u64,
        slot: DateTime,
    ) -> Result<(), StoreError> {
        let mut item = self.item(number)?.clone();
        if item.series.is_none() {
            return Err(StoreError::NotASeries);
        }
        if item.instance(slot).is_none() {
            return Err(StoreError::NoOccurrence);
        }
        if let Some(series) = &mut item.series {
            series.exceptions.remove(&slot);
            series.deleted.insert(slot);
        }
        self.save_series(item);
        Ok(())
    }

    /// Saves a series after one of its occurrences changed.
    fn save_series(&mut self, mut item: Item) {
        if self.exceptions_touch_master {
            self.save(item);
        } else {
            item.modified = self.clock.now();
            self.tell(EventKind::Modified, &item, None);
            self.items.insert(item.number, item);
        }
    }

    /// Moves an item to another folder of the same mailbox; it gets a new number and so a new id.
    pub(crate) fn move_item(&mut self, number: u64, folder: Folder) -> Result<u64, StoreError> {
        let mut item = self.items.remove(&number).ok_or(StoreError::NoItem)?;
        self.leave(item.mailbox, item.folder, number, item.origin);
        let old = (number, item.folder);
        item.number = self.next_item;
        self.next_item += 1;
        item.folder = folder;
        item.change = self.next_change();
        item.modified = self.clock.now();
        self.enter(&item);
        self.tell(EventKind::Moved, &item, Some(old));
        let moved = item.number;
        self.items.insert(moved, item);
        Ok(moved)
    }

    /// Deletes for good; undelete can still bring it back.
    pub(crate) fn hard_delete(&mut self, number: u64) -> Result<(), StoreError> {
        let item = self.items.remove(&number).ok_or(StoreError::NoItem)?;
        self.leave(item.mailbox, item.folder, number, item.origin);
        self.tell(EventKind::Deleted, &item, None);
        if let Some(mailbox) = self.mailboxes.get_mut(item.mailbox) {
            mailbox.dumpster.push(item);
        }
        Ok(())
    }

    /// Brings the last hard-deleted item with this UID back into its folder, under a new id.
    pub(crate) fn undelete(&mut self, mailbox: usize, uid: &str) -> Result<u64, StoreError> {
        let dumpster = &mut self
            .mailboxes
            .get_mut(mailbox)
            .ok_or(StoreError::NoMailbox)?
            .dumpster;
        let position = dumpster
            .iter()
            .rposition(|item| item.uid == uid)
            .ok_or(StoreError::NoItem)?;
        let mut item = dumpster.remove(position);
        item.number = self.next_item;
        self.next_item += 1;
        item.change = self.next_change();
        item.modified = self.clock.now();
        self.enter(&item);
        self.tell(EventKind::Created, &item, None);
        let back = item.number;
        self.items.insert(back, item);
        Ok(back)
    }

    /// The next page of a folder's change feed after `state`, newest first, and whether it is the last.
    pub(crate) fn changes(
        &self,
        mailbox: usize,
        folder: Folder,
        state: &mut SyncState,
        ignore: &BTreeSet<u64>,
        most: usize,
    ) -> (Vec<Change>, bool) {
        let Some(log) = self
            .mailboxes
            .get(mailbox)
            .and_then(|mailbox| mailbox.folders.get(&folder))
        else {
            return (Vec::new(), true);
        };
        let mut pending: Vec<(u64, Change)> = Vec::new();
        for (item, changes) in &log.live {
            let Some(last) = changes.last() else { continue };
            if !state.has_seen(*last) && !ignore.contains(item) {
                let known = changes.iter().any(|change| state.has_seen(*change));
                pending.push((
                    *last,
                    if known {
                        Change::Update(*item)
                    } else {
                        Change::Create(*item)
                    },
                ));
            }
        }
        for gone in &log.gone {
            // What the client never saw need not be deleted.
            if !state.has_seen(gone.change)
                && gone.changes.iter().any(|change| state.has_seen(*change))
            {
                pending.push((
                    gone.change,
                    Change::Delete {
                        item: gone.item,
                        change: gone.change,
                    },
                ));
            }
        }
        pending.sort_unstable_by_key(|(change, _)| std::cmp::Reverse(*change));
        let last_page = pending.len() <= most;
        pending.truncate(most);
        let low = match (last_page, pending.last()) {
            (true, _) | (false, None) => 0,
            (false, Some((change, _))) => *change,
        };
        state.add(low, self.change);
        (
            pending.into_iter().map(|(_, change)| change).collect(),
            last_page,
        )
    }
}

fn check_times(appointment: &Appointment) -> Result<(), StoreError> {
    if appointment.end < appointment.start {
        Err(StoreError::EndBeforeStart)
    } else {
        Ok(())
    }
}

/// A UID like Outlook's: the hexadecimal form of a clean global object id ([MS-OXOCAL] PidLidCleanGlobalObjectId).
fn outlook_uid(number: u64) -> String {
    let unique = blake3::hash(&number.to_be_bytes());
    let unique: String = unique
        .as_bytes()
        .iter()
        .take(16)
        .map(|byte| format!("{byte:02X}"))
        .collect();
    format!(
        "040000008200E00074C5B7101A82E008000000000000000000000000000000000000000010000000{unique}"
    )
}

impl Item {
    pub(crate) fn id(&self) -> String {
        item_id(self.number)
    }

    pub(crate) fn change_key(&self) -> String {
        change_key(self.change)
    }

    /// Begins a series anew at its content's start: the rule stays, its first day moves along, exceptions are lost.
    pub(crate) fn restart(&mut self) -> Result<(), StoreError> {
        let first = self.appointment.local_start().date();
        let rule = self.series.take().map(|series| match series.rule {
            SeriesRule::Ews(recurrence) => SeriesRule::Ews(Recurrence {
                start: first,
                ..recurrence
            }),
            other @ SeriesRule::Other { .. } => other,
        });
        self.set_rule(rule)
    }

    /// The starts of the occurrences before and after one.
    pub(crate) fn neighbours(&self, slot: DateTime) -> (Option<Timestamp>, Option<Timestamp>) {
        let Some(series) = &self.series else {
            return (None, None);
        };
        let far = slot
            .checked_add(jiff::Span::new().years(20))
            .unwrap_or(DateTime::MAX);
        let slots = series.rule.slots(self.appointment.local_start(), far);
        let start = |slot: &DateTime| {
            self.instance(*slot)
                .map(|instance| instance.appointment.start)
        };
        let before = slots
            .iter()
            .rev()
            .filter(|other| **other < slot)
            .find_map(start);
        let after = slots.iter().filter(|other| **other > slot).find_map(start);
        (before, after)
    }

    /// Makes the item a series with this rule, without exceptions, or a single item. A series begins with its first
    /// occurrence, whatever start the content names.
    pub(crate) fn set_rule(&mut self, rule: Option<SeriesRule>) -> Result<(), StoreError> {
        self.series = match rule {
            None => None,
            Some(rule) => {
                let anchor = self.appointment.local_start();
                let far = anchor
                    .checked_add(jiff::Span::new().years(60))
                    .unwrap_or(DateTime::MAX);
                let first = rule.first(anchor, far).ok_or(StoreError::EmptySeries)?;
                if first != anchor {
                    self.appointment = self.appointment.at_slot(first);
                }
                Some(Series {
                    rule,
                    exceptions: BTreeMap::new(),
                    deleted: BTreeSet::new(),
                })
            }
        };
        Ok(())
    }
}
