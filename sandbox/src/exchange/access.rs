//! Who asks, as whom, and what they may see.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;

use super::ids::read_folder_id;
use super::item::Folder;
use super::profile::Profile;
use super::soap::EwsError;
use super::store::Store;
use super::xml::Element;
use super::zone::Zone;
use crate::windows::Known;

/// Whom an account may impersonate (role ApplicationImpersonation with its recipient scope).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Impersonation {
    /// Nobody.
    #[default]
    Nobody,
    /// Every mailbox.
    Everybody,
    /// These primary addresses.
    Only(Vec<String>),
}

/// What an account may do with somebody else's calendar without impersonation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// The folder is visible, its items are not (ErrorAccessDenied).
    FolderVisible,
    /// Reading.
    Reviewer,
    /// Reading and writing.
    Editor,
}

/// An account that can sign in.
#[derive(Debug, Clone, Default)]
pub struct Account {
    /// User name (`DOMAIN\user` or UPN), compared without regard to case.
    pub user: String,
    /// Password for Basic, NTLM and Negotiate; `None` refuses these.
    pub password: Option<String>,
    /// Bearer token; `None` refuses Bearer.
    pub token: Option<String>,
    /// The account's own mailbox; service accounts need none.
    pub mailbox: Option<String>,
    /// Whom it may impersonate.
    pub impersonation: Impersonation,
    /// Delegate rights by primary address.
    pub rights: BTreeMap<String, Right>,
}

impl Account {
    /// A service account with Basic authentication that may impersonate everybody.
    pub fn service(user: impl Into<String>, password: impl Into<String>) -> Self {
        Account {
            user: user.into(),
            password: Some(password.into()),
            impersonation: Impersonation::Everybody,
            ..Account::default()
        }
    }

    /// What the front needs of it.
    pub(crate) fn known(&self) -> Known {
        Known {
            user: self.user.clone(),
            password: self.password.clone(),
            token: self.token.clone(),
        }
    }

    fn may_impersonate(&self, address: &str) -> bool {
        match &self.impersonation {
            Impersonation::Nobody => false,
            Impersonation::Everybody => true,
            Impersonation::Only(list) => list
                .iter()
                .any(|allowed| allowed.eq_ignore_ascii_case(address)),
        }
    }

    fn right_on(&self, address: &str) -> Option<Right> {
        if self
            .mailbox
            .as_ref()
            .is_some_and(|own| own.eq_ignore_ascii_case(address))
        {
            return Some(Right::Editor);
        }
        self.rights
            .iter()
            .find(|(owner, _)| owner.eq_ignore_ascii_case(address))
            .map(|(_, right)| *right)
    }
}

/// One request's surroundings.
pub(crate) struct Context<'a> {
    pub(crate) store: &'a mut Store,
    pub(crate) profile: Profile,
    pub(crate) account: &'a Account,
    /// The impersonated mailbox.
    pub(crate) acting: Option<usize>,
    /// The zone of the TimeZoneContext.
    pub(crate) zone: TimeZone,
    /// Codes for single items of a batch, counted from 1, which are not processed.
    pub(crate) refused: Vec<(String, usize)>,
    /// New items that start then are not made.
    pub(crate) refused_starts: Vec<jiff::Timestamp>,
}

/// The address inside t:ExchangeImpersonation, and how it was named.
pub(crate) fn impersonated(header: Option<&Element>) -> Option<(&str, &str)> {
    let sid = header?
        .child("t:ExchangeImpersonation")?
        .child("t:ConnectingSID")?
        .children
        .first()?;
    Some((sid.local(), sid.text.trim()))
}

/// Judges the impersonation header (EWS ExchangeImpersonationType).
pub(crate) fn impersonate(
    store: &Store,
    account: &Account,
    profile: Profile,
    named: Option<(&str, &str)>,
) -> Result<Option<usize>, EwsError> {
    let Some((form, address)) = named else {
        return Ok(None);
    };
    let Some(number) = (form != "SID")
        .then(|| store.find_mailbox(address))
        .flatten()
    else {
        return Err(if profile.is_gromox() {
            EwsError::of("ErrorCannotFindUser")
        } else {
            EwsError::of("ErrorNonExistentMailbox")
        });
    };
    let Some(mailbox) = store.mailbox(number) else {
        return Err(EwsError::of("ErrorNonExistentMailbox"));
    };
    if !account.may_impersonate(&mailbox.primary) {
        return Err(EwsError::of("ErrorImpersonateUserDenied"));
    }
    if mailbox.disabled {
        return Err(EwsError::of("ErrorAccountDisabled"));
    }
    // SmtpAddress takes proxy addresses; PrimarySmtpAddress does not.
    if form == "PrimarySmtpAddress"
        && !mailbox.primary.eq_ignore_ascii_case(address)
        && !profile.is_gromox()
    {
        return Err(
            EwsError::of("ErrorNonPrimarySmtpAddress").with_value("Primary", &mailbox.primary)
        );
    }
    Ok(Some(number))
}

/// The zone of the TimeZoneContext header.
pub(crate) fn context_zone(header: Option<&Element>) -> Result<TimeZone, EwsError> {
    let Some(id) = header
        .and_then(|header| header.child("t:TimeZoneContext"))
        .and_then(|context| context.child("t:TimeZoneDefinition"))
        .and_then(|definition| definition.get("Id"))
    else {
        return Ok(TimeZone::UTC);
    };
    Zone::find(id)
        .map(|zone| zone.rules().clone())
        .ok_or_else(|| EwsError::new("ErrorTimeZone", "The time zone definition is not known."))
}

impl Context<'_> {
    /// Whether an item of a batch, counted from 0, is to be refused.
    pub(crate) fn refuse(&self, at: usize) -> Result<(), EwsError> {
        let refused = self.refused.iter().find(|(_, place)| *place == at + 1);
        refused.map_or(Ok(()), |(code, _)| Err(EwsError::of(code)))
    }

    /// Whether the caller may read (or write) a mailbox's items.
    pub(crate) fn check(&self, mailbox: usize, write: bool) -> Result<(), EwsError> {
        if self.acting == Some(mailbox) {
            return Ok(());
        }
        let owner = self
            .store
            .mailbox(mailbox)
            .ok_or_else(|| EwsError::of("ErrorNonExistentMailbox"))?;
        if owner.disabled {
            return Err(EwsError::of("ErrorAccountDisabled"));
        }
        // An impersonated user has the rights of that user, who has none on others here.
        let right = if self.acting.is_some() {
            None
        } else {
            self.account.right_on(&owner.primary)
        };
        match right {
            Some(Right::Editor) => Ok(()),
            Some(Right::Reviewer) if !write => Ok(()),
            Some(Right::Reviewer | Right::FolderVisible) => Err(EwsError::of("ErrorAccessDenied")),
            None => Err(EwsError::of("ErrorFolderNotFound")),
        }
    }

    /// Finds the folder that a t:FolderId or t:DistinguishedFolderId names.
    pub(crate) fn folder(
        &self,
        element: &Element,
        write: bool,
    ) -> Result<(usize, Folder), EwsError> {
        let (mailbox, folder) = match element.name.as_str() {
            "t:DistinguishedFolderId" => {
                let name = element.get("Id").unwrap_or_default();
                let folder = Folder::ALL
                    .into_iter()
                    .find(|folder| folder.distinguished() == Some(name));
                let mailbox = match element
                    .child("t:Mailbox")
                    .and_then(|mailbox| mailbox.child_text("t:EmailAddress"))
                {
                    Some(address) => self
                        .store
                        .find_mailbox(address.trim())
                        .ok_or_else(|| EwsError::of("ErrorNonExistentMailbox"))?,
                    None => match self.acting {
                        Some(acting) => acting,
                        None => self
                            .account
                            .mailbox
                            .as_deref()
                            .and_then(|own| self.store.find_mailbox(own))
                            .ok_or_else(|| EwsError::of("ErrorMissingEmailAddress"))?,
                    },
                };
                (mailbox, folder)
            }
            _ => {
                let (mailbox, folder) = element
                    .get("Id")
                    .and_then(read_folder_id)
                    .ok_or_else(|| EwsError::of("ErrorInvalidIdMalformed"))?;
                let folder = usize::try_from(folder)
                    .ok()
                    .and_then(|index| Folder::ALL.get(index).copied());
                (usize::try_from(mailbox).unwrap_or(usize::MAX), folder)
            }
        };
        self.check(mailbox, write)?;
        folder
            .map(|folder| (mailbox, folder))
            .ok_or_else(|| EwsError::of("ErrorFolderNotFound"))
    }
}

/// The wire id of a folder.
pub(crate) fn folder_id(mailbox: usize, folder: Folder) -> String {
    let index = Folder::ALL
        .iter()
        .position(|candidate| *candidate == folder)
        .unwrap_or(0);
    super::ids::folder_id(mailbox as u64, index as u64)
}
