//! The handle by which tests and the demo run the server and change what it holds.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};

use super::access::Account;
use super::autodiscover::Autodiscover;
use super::budget::{Budgets, ThrottlingPolicy};
use super::fault;
use super::item::{Appointment, Folder, FreeBusy, Item, NewItem, Sensitivity};
use super::ledger::ExchangeCall;
use super::notify::{Notifications, Notifier};
use super::oracle;
use super::profile::Profile;
use super::recurrence::SeriesRule;
use super::service::{Front, PATH, Service};
use super::store::{MailboxKind, Store, StoreError};
use crate::fault::{Fault, FaultPlan, FaultSpecError};
use crate::ledger::Ledger;
use crate::server::{Server, ServerOptions};
use crate::windows::{self, SignIn, SignInCounts};

/// How the server is started.
#[derive(Debug, Clone)]
pub struct ExchangeOptions {
    /// Address, TLS and limits.
    pub server: ServerOptions,
    /// Which server it plays.
    pub profile: Profile,
    /// Who can sign in.
    pub accounts: Vec<Account>,
    /// Whether the ledger keeps the request documents, for validation by other tools.
    pub keep_requests: bool,
    /// Whether an impersonated request without X-AnchorMailbox is refused.
    pub require_anchor: bool,
    /// Which mailbox database it is: a SyncState of another one is refused. By default each server has its own.
    pub database: u64,
    /// Limits and times of notifications.
    pub notifications: Notifications,
    /// Which ways to sign in are offered.
    pub sign_in: SignIn,
}

impl Default for ExchangeOptions {
    /// Plain HTTP on a free port of the loopback interface, Exchange 2019, and the account `svc-calbridge` with the
    /// password `sandbox`, which may impersonate everybody.
    fn default() -> Self {
        ExchangeOptions {
            server: ServerOptions::default(),
            profile: Profile::default(),
            accounts: vec![Account::service("svc-calbridge", "sandbox")],
            keep_requests: false,
            require_anchor: false,
            // The standard library's random keys.
            database: RandomState::new().build_hasher().finish(),
            notifications: Notifications::default(),
            sign_in: SignIn::default(),
        }
    }
}

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The address cannot be bound.
    #[error("the sandbox's Exchange server cannot listen: choose another address or port")]
    Listen(#[source] io::Error),
}

/// Names an item for the handle's calls. A move makes a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ItemHandle(pub(crate) u64);

/// One true occurrence, as the oracle has it.
#[derive(Debug, Clone, PartialEq)]
pub struct Occurrence {
    /// The item it belongs to.
    pub item: ItemHandle,
    /// iCalendar UID.
    pub uid: String,
    /// Of an occurrence of a series: where the rule put it.
    pub original_start: Option<Timestamp>,
    /// Start instant.
    pub start: Timestamp,
    /// End instant, exclusive.
    pub end: Timestamp,
    /// Of an all-day occurrence: first day, and the day after the last, in the creator's zone.
    pub dates: Option<(Date, Date)>,
    /// Subject.
    pub subject: String,
    /// Location.
    pub location: String,
    /// Free/busy status.
    pub free_busy: FreeBusy,
    /// Sensitivity.
    pub sensitivity: Sensitivity,
    /// Whether the meeting is cancelled.
    pub cancelled: bool,
}

impl Occurrence {
    fn new(item: &Item, original_start: Option<Timestamp>, content: &Appointment) -> Self {
        Occurrence {
            item: ItemHandle(item.number),
            uid: item.uid.clone(),
            original_start: original_start.or(item.lone_original),
            start: content.start,
            end: content.end,
            dates: content
                .all_day
                .then(|| (content.local_start().date(), content.local_end().date())),
            subject: content.subject.clone(),
            location: content.location.clone(),
            free_busy: content.free_busy,
            sensitivity: content.sensitivity,
            cancelled: content.cancelled,
        }
    }
}

/// A running Exchange server. Clones are handles on the same server; it ends with the last of them, or with
/// [`ExchangeSandbox::stop`].
#[derive(Clone)]
pub struct ExchangeSandbox {
    service: Arc<Service>,
    server: Arc<Server>,
}

impl std::fmt::Debug for ExchangeSandbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExchangeSandbox")
            .field("url", &self.url())
            .finish_non_exhaustive()
    }
}

impl ExchangeSandbox {
    /// Starts a server.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub async fn start(options: ExchangeOptions) -> Result<Self, StartError> {
        let mut store = Store::new(!options.profile.is_gromox(), options.database);
        store.notifier = Arc::new(Notifier::new(options.notifications, options.profile));
        let service = Arc::new(Service {
            store: Mutex::new(store),
            accounts: Mutex::new(options.accounts),
            front: windows::Front::new(options.sign_in),
            profile: options.profile,
            faults: FaultPlan::default(),
            budgets: Budgets::default(),
            ledger: Ledger::default(),
            autodiscover: Mutex::new(Autodiscover::of(options.profile)),
            tls: options.server.tls.is_some(),
            keep_requests: options.keep_requests,
            require_anchor: options.require_anchor,
            skew: Mutex::new(SignedDuration::ZERO),
        });
        let server = Server::start(options.server, Front(Arc::clone(&service)))
            .await
            .map_err(StartError::Listen)?;
        Ok(ExchangeSandbox {
            service,
            server: Arc::new(server),
        })
    }

    /// The address of the web service.
    #[must_use]
    pub fn url(&self) -> String {
        self.server.url(PATH)
    }

    /// The server below: its address and connection counts.
    #[must_use]
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Stops listening; requests under way may finish for a short time.
    pub async fn stop(&self) {
        self.server.stop().await;
    }

    // Sign-in.

    /// What was counted of sign-ins so far.
    #[must_use]
    pub fn sign_in_counts(&self) -> SignInCounts {
        self.service.front.counts()
    }

    /// Changes how accounts sign in, for requests from now on.
    pub fn change_sign_in(&self, change: impl FnOnce(&mut SignIn)) {
        self.service.front.change(change);
    }

    /// Unlocks all accounts, and lets nobody be signed in.
    pub fn unlock_accounts(&self) {
        self.service.front.unlock();
    }

    // Mailboxes.

    /// Adds a person's mailbox.
    ///
    /// # Errors
    /// The address is taken.
    pub fn add_person(&self, name: &str, address: &str) -> Result<(), StoreError> {
        self.store(|store| store.add_mailbox(name, address, MailboxKind::Person))
            .map(drop)
    }

    /// Adds a room's mailbox.
    ///
    /// # Errors
    /// The address is taken.
    pub fn add_room(&self, name: &str, address: &str) -> Result<(), StoreError> {
        self.store(|store| store.add_mailbox(name, address, MailboxKind::Room))
            .map(drop)
    }

    /// The primary addresses of all mailboxes with their names and kinds, in the order they were added.
    #[must_use]
    pub fn mailboxes(&self) -> Vec<(String, String, MailboxKind)> {
        self.store(|store| {
            store
                .mailboxes
                .iter()
                .map(|mailbox| (mailbox.primary.clone(), mailbox.name.clone(), mailbox.kind))
                .collect()
        })
    }

    /// Gives a mailbox a further address.
    ///
    /// # Errors
    /// There is no such mailbox, or the alias is taken.
    pub fn add_alias(&self, address: &str, alias: &str) -> Result<(), StoreError> {
        self.store(|store| {
            if store.find_mailbox(alias).is_some() {
                return Err(StoreError::AddressTaken);
            }
            let (_, mailbox) = store.mailbox_at(address)?;
            mailbox.aliases.push(alias.to_owned());
            Ok(())
        })
    }

    /// Gives a mailbox a new primary address; the old one stays as an alias.
    ///
    /// # Errors
    /// There is no such mailbox, or the new address is taken.
    pub fn rename_mailbox(&self, address: &str, new: &str) -> Result<(), StoreError> {
        self.store(|store| {
            let number = store.mailbox_number(address)?;
            if store.find_mailbox(new).is_some_and(|other| other != number) {
                return Err(StoreError::AddressTaken);
            }
            let (_, mailbox) = store.mailbox_at(address)?;
            let old = std::mem::replace(&mut mailbox.primary, new.to_owned());
            mailbox
                .aliases
                .retain(|alias| !alias.eq_ignore_ascii_case(new));
            mailbox.aliases.push(old);
            Ok(())
        })
    }

    /// Disables a mailbox (ErrorAccountDisabled), or enables it again.
    ///
    /// # Errors
    /// There is no such mailbox.
    pub fn disable_mailbox(&self, address: &str, disabled: bool) -> Result<(), StoreError> {
        self.store(|store| {
            let (number, mailbox) = store.mailbox_at(address)?;
            mailbox.disabled = disabled;
            if disabled {
                store.notifier.break_off(number, "ErrorReadEventsFailed");
            }
            Ok(())
        })
    }

    // Mailbox servers and subscriptions.

    /// Moves a mailbox to another mailbox server, counted from 1, where all are in the beginning. Its subscriptions
    /// are lost.
    ///
    /// # Errors
    /// There is no such mailbox.
    pub fn move_to_server(&self, address: &str, server: usize) -> Result<(), StoreError> {
        self.store(|store| {
            let (number, mailbox) = store.mailbox_at(address)?;
            mailbox.server = server;
            store.notifier.lose(number);
            Ok(())
        })
    }

    /// A mailbox server fails and is back at once: its streams break and its subscriptions are lost.
    pub fn fail_over(&self, server: usize) {
        self.store(|store| store.notifier.fail_over(server));
    }

    /// The subscriptions to a mailbox are lost.
    ///
    /// # Errors
    /// There is no such mailbox.
    pub fn lose_subscriptions(&self, address: &str) -> Result<(), StoreError> {
        self.store(|store| {
            let number = store.mailbox_number(address)?;
            store.notifier.lose(number);
            Ok(())
        })
    }

    /// How many subscriptions there are, and how many streams are open.
    #[must_use]
    pub fn watched(&self) -> (usize, usize) {
        self.store(|store| store.notifier.counts())
    }

    /// What each mailbox is allowed from now on.
    pub fn set_throttling_policy(&self, policy: ThrottlingPolicy) {
        self.service.budgets.set(policy);
    }

    /// The most requests at once so far: on behalf of one mailbox, and in all.
    #[must_use]
    pub fn most_at_once(&self, address: &str) -> (usize, usize) {
        self.service.budgets.most(address)
    }

    /// Makes every SyncState of a mailbox invalid, as a restore or a repair of its database does.
    ///
    /// # Errors
    /// There is no such mailbox.
    pub fn invalidate_sync_states(&self, address: &str) -> Result<(), StoreError> {
        self.store(|store| {
            let (_, mailbox) = store.mailbox_at(address)?;
            mailbox.epoch = mailbox.epoch.wrapping_add(1);
            Ok(())
        })
    }

    /// Replaces the accounts that can sign in: another password, another scope.
    pub fn set_accounts(&self, accounts: Vec<Account>) {
        *self
            .service
            .accounts
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = accounts;
    }

    // Items.

    /// Puts an item into a mailbox.
    ///
    /// # Errors
    /// There is no such mailbox, the end lies before the start, or the series never happens.
    pub fn create(&self, address: &str, item: NewItem) -> Result<ItemHandle, StoreError> {
        self.store(|store| {
            let number = store.mailbox_number(address)?;
            store.create(number, item).map(ItemHandle)
        })
    }

    /// How many items a mailbox holds at most; clients that want to put in more are told ErrorQuotaExceeded.
    ///
    /// # Errors
    /// There is no such mailbox.
    pub fn set_quota(&self, address: &str, items: Option<usize>) -> Result<(), StoreError> {
        self.store(|store| {
            store.mailbox_at(address)?.1.quota = items;
            Ok(())
        })
    }

    /// Changes an item's content. A series keeps its rule and its exceptions; its times change with [`Self::reschedule`].
    ///
    /// # Errors
    /// There is no such item, or its end would lie before its start.
    pub fn change(
        &self,
        item: ItemHandle,
        edit: impl FnOnce(&mut Appointment),
    ) -> Result<(), StoreError> {
        self.store(|store| {
            store.update(item.0, |item| {
                edit(&mut item.appointment);
                Ok(())
            })
        })
    }

    /// Replaces an item's content and rule at once, as when a user edits a whole series: exceptions and deleted
    /// occurrences are lost. Without a rule a series becomes a single appointment.
    ///
    /// # Errors
    /// There is no such item, its end would lie before its start, or the series never happens.
    pub fn reschedule(
        &self,
        item: ItemHandle,
        rule: Option<SeriesRule>,
        edit: impl FnOnce(&mut Appointment),
    ) -> Result<(), StoreError> {
        self.store(|store| {
            store.update(item.0, |item| {
                edit(&mut item.appointment);
                item.set_rule(rule)
            })
        })
    }

    /// The organizer cancels the meeting: it stays in the calendar, marked, and free.
    ///
    /// # Errors
    /// There is no such item.
    pub fn cancel(&self, item: ItemHandle) -> Result<(), StoreError> {
        self.change(item, |content| {
            content.cancelled = true;
            content.free_busy = FreeBusy::Free;
            content.sequence += 1;
            content.subject = format!("Canceled: {}", content.subject);
        })
    }

    /// Sets the free/busy status.
    ///
    /// # Errors
    /// There is no such item.
    pub fn show_as(&self, item: ItemHandle, status: FreeBusy) -> Result<(), StoreError> {
        self.change(item, |content| content.free_busy = status)
    }

    /// Moves an appointment in time; its length stays. A series moves as a whole only with [`Self::reschedule`].
    ///
    /// # Errors
    /// There is no such item.
    pub fn move_in_time(&self, item: ItemHandle, by: SignedDuration) -> Result<(), StoreError> {
        self.change(item, |content| shift(content, by))
    }

    /// Edits one occurrence, named by its original start; it becomes an exception.
    ///
    /// # Errors
    /// There is no such item or occurrence, it is no series, or the end would lie before the start.
    pub fn change_occurrence(
        &self,
        item: ItemHandle,
        original_start: Timestamp,
        edit: impl FnOnce(&mut Appointment),
    ) -> Result<(), StoreError> {
        self.store(|store| {
            let slot = store.item(item.0)?.slot_of(original_start);
            store.update_occurrence(item.0, slot, edit)
        })
    }

    /// Moves one occurrence in time.
    ///
    /// # Errors
    /// There is no such item or occurrence, or it is no series.
    pub fn move_occurrence(
        &self,
        item: ItemHandle,
        original_start: Timestamp,
        by: SignedDuration,
    ) -> Result<(), StoreError> {
        self.change_occurrence(item, original_start, |content| shift(content, by))
    }

    /// Deletes one occurrence, named by its original start.
    ///
    /// # Errors
    /// There is no such item or occurrence, or it is no series.
    pub fn delete_occurrence(
        &self,
        item: ItemHandle,
        original_start: Timestamp,
    ) -> Result<(), StoreError> {
        self.store(|store| {
            let slot = store.item(item.0)?.slot_of(original_start);
            store.delete_occurrence(item.0, slot)
        })
    }

    /// Moves an item to another folder of its mailbox, under a new id.
    ///
    /// # Errors
    /// There is no such item.
    pub fn move_to(&self, item: ItemHandle, folder: Folder) -> Result<ItemHandle, StoreError> {
        self.store(|store| store.move_item(item.0, folder).map(ItemHandle))
    }

    /// Deletes an item as a user does: it goes to Deleted Items.
    ///
    /// # Errors
    /// There is no such item.
    pub fn delete(&self, item: ItemHandle) -> Result<ItemHandle, StoreError> {
        self.move_to(item, Folder::DeletedItems)
    }

    /// Deletes an item for good.
    ///
    /// # Errors
    /// There is no such item.
    pub fn hard_delete(&self, item: ItemHandle) -> Result<(), StoreError> {
        self.store(|store| store.hard_delete(item.0))
    }

    /// Brings back the last item with this UID that was deleted for good, under a new id.
    ///
    /// # Errors
    /// There is no such mailbox or no such deleted item.
    pub fn undelete(&self, address: &str, uid: &str) -> Result<ItemHandle, StoreError> {
        self.store(|store| {
            let number = store.mailbox_number(address)?;
            store.undelete(number, uid).map(ItemHandle)
        })
    }

    /// The items with this UID in any folder of a mailbox.
    #[must_use]
    pub fn find(&self, address: &str, uid: &str) -> Vec<ItemHandle> {
        self.store(|store| {
            let Some(number) = store.find_mailbox(address) else {
                return Vec::new();
            };
            store
                .items
                .values()
                .filter(|item| item.mailbox == number && item.uid == uid)
                .map(|item| ItemHandle(item.number))
                .collect()
        })
    }

    /// The items of a folder, oldest first.
    #[must_use]
    pub fn items(&self, address: &str, folder: Folder) -> Vec<ItemHandle> {
        self.store(|store| {
            let Some(number) = store.find_mailbox(address) else {
                return Vec::new();
            };
            store
                .items_in(number, folder)
                .map(|item| ItemHandle(item.number))
                .collect()
        })
    }

    /// An item's UID, wire id, change key and content.
    ///
    /// # Errors
    /// There is no such item.
    pub fn read(
        &self,
        item: ItemHandle,
    ) -> Result<(String, String, String, Appointment), StoreError> {
        self.store(|store| {
            let item = store.item(item.0)?;
            Ok((
                item.uid.clone(),
                item.id(),
                item.change_key(),
                item.appointment.clone(),
            ))
        })
    }

    /// The oracle: what truly happens in a mailbox's calendar in [from, to), expanded by other means than the server's
    /// own, sorted by start. Items ending at `from` or starting at `to` are outside.
    #[must_use]
    pub fn occurrences(&self, address: &str, from: Timestamp, to: Timestamp) -> Vec<Occurrence> {
        self.occurrences_in(address, Folder::Calendar, from, to)
    }

    /// [`Self::occurrences`] of another folder.
    #[must_use]
    pub fn occurrences_in(
        &self,
        address: &str,
        folder: Folder,
        from: Timestamp,
        to: Timestamp,
    ) -> Vec<Occurrence> {
        self.store(|store| {
            let Some(number) = store.find_mailbox(address) else {
                return Vec::new();
            };
            let mut found: Vec<Occurrence> = store
                .items_in(number, folder)
                .filter(|item| item.appointment.is_appointment())
                .flat_map(|item| true_occurrences(item, to))
                .collect();
            found.retain(|occurrence| {
                let ended = if occurrence.start == occurrence.end {
                    occurrence.end < from
                } else {
                    occurrence.end <= from
                };
                !ended && occurrence.start < to
            });
            found.sort_by_key(|occurrence| (occurrence.start, occurrence.item));
            found
        })
    }

    // Time, faults, ledger.

    /// Stops the server's clock at an instant, or lets it run again.
    pub fn set_clock(&self, now: Option<Timestamp>) {
        self.store(|store| store.set_clock(now));
    }

    /// Makes the Date header of answers wrong by this much.
    pub fn set_date_skew(&self, skew: SignedDuration) {
        *self
            .service
            .skew
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = skew;
    }

    /// Adds a fault.
    ///
    /// # Errors
    /// The server does not know the kind, or its argument is wrong.
    pub fn inject(&self, fault: Fault) -> Result<(), FaultSpecError> {
        fault::read(&fault.kind)?;
        self.service.faults.add(fault);
        Ok(())
    }

    /// Adds faults from their text form, several separated by `;`.
    ///
    /// # Errors
    /// The text is no fault, or the server does not know its kind; then none is added.
    pub fn inject_spec(&self, spec: &str) -> Result<(), FaultSpecError> {
        let faults = spec
            .split(';')
            .filter(|part| !part.trim().is_empty())
            .map(str::parse::<Fault>)
            .collect::<Result<Vec<_>, _>>()?;
        for fault in &faults {
            fault::read(&fault.kind)?;
        }
        faults
            .into_iter()
            .for_each(|fault| self.service.faults.add(fault));
        Ok(())
    }

    /// Removes all faults.
    pub fn clear_faults(&self) {
        self.service.faults.clear();
    }

    /// Everything that was asked, in order.
    #[must_use]
    pub fn ledger(&self) -> Ledger<ExchangeCall> {
        self.service.ledger.clone()
    }

    pub(crate) fn service(&self) -> &Service {
        &self.service
    }

    pub(crate) fn store<T>(&self, work: impl FnOnce(&mut Store) -> T) -> T {
        work(&mut self.service.store())
    }
}

fn shift(content: &mut Appointment, by: SignedDuration) {
    content.start = content.start.checked_add(by).unwrap_or(content.start);
    content.end = content.end.checked_add(by).unwrap_or(content.end);
}

/// All occurrences of an item that start before `to`, expanded by the oracle.
fn true_occurrences(item: &Item, to: Timestamp) -> Vec<Occurrence> {
    let Some(series) = &item.series else {
        return vec![Occurrence::new(item, None, &item.appointment)];
    };
    let until = item.appointment.start_zone.rules().to_datetime(to);
    let mut found: Vec<Occurrence> =
        oracle::slots(&series.rule, item.appointment.local_start(), until)
            .into_iter()
            .filter(|slot| !series.deleted.contains(slot) && !series.exceptions.contains_key(slot))
            .map(|slot| {
                Occurrence::new(
                    item,
                    Some(item.slot_instant(slot)),
                    &item.appointment.at_slot(slot),
                )
            })
            .collect();
    for (slot, exception) in &series.exceptions {
        found.push(Occurrence::new(
            item,
            Some(item.slot_instant(*slot)),
            &exception.appointment,
        ));
    }
    found
}
