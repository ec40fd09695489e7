//! A disk that keeps what was synced, and of the rest what it likes.

use std::collections::BTreeMap;

use crate::history::Dice;
use crate::trace::Event;

/// What reaches a disk as one.
const SECTOR: usize = 512;

/// Which syncs the disk heeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Syncs {
    /// All.
    Kept,
    /// None of SQLite's log, as with `synchronous = NORMAL` between checkpoints.
    NoneOfTheLog,
    /// None at all, as with `synchronous = OFF`.
    None,
}

/// What is there of all that was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    Nothing,
    Everything,
    SomeSectors,
}

impl What {
    pub(crate) const ALL: [Self; 3] = [Self::Nothing, Self::Everything, Self::SomeSectors];
}

/// The files after a power cut.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Image(pub(crate) BTreeMap<String, Vec<u8>>);

#[derive(Debug, Clone)]
enum Change {
    Write { at: usize, bytes: Vec<u8> },
    Truncate(usize),
}

/// What is in a file, whatever its name.
#[derive(Debug, Default)]
struct Inode {
    synced: Vec<u8>,
    pending: Vec<Change>,
}

#[derive(Debug, Clone)]
enum Naming {
    Link(String, usize),
    Unlink(String),
}

#[derive(Debug)]
pub(crate) struct Disk {
    syncs: Syncs,
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    synced_names: BTreeMap<String, usize>,
    /// Names become durable with the folder, in their order.
    naming: Vec<Naming>,
}

impl Disk {
    pub(crate) fn new(syncs: Syncs) -> Self {
        Self {
            syncs,
            inodes: Vec::new(),
            names: BTreeMap::new(),
            synced_names: BTreeMap::new(),
            naming: Vec::new(),
        }
    }

    pub(crate) fn take(&mut self, event: &Event) {
        match event {
            Event::Created(file) => {
                if !self.names.contains_key(file) {
                    self.inodes.push(Inode::default());
                    let inode = self.inodes.len() - 1;
                    self.names.insert(file.clone(), inode);
                    self.naming.push(Naming::Link(file.clone(), inode));
                }
            }
            Event::Wrote { file, at, bytes } => self.inode(file).pending.push(Change::Write {
                at: *at,
                bytes: bytes.clone(),
            }),
            Event::Truncated { file, length } => {
                self.inode(file).pending.push(Change::Truncate(*length));
            }
            Event::Synced(file) => {
                let heeded = match self.syncs {
                    Syncs::Kept => true,
                    Syncs::NoneOfTheLog => !file.ends_with("-wal"),
                    Syncs::None => false,
                };
                if heeded {
                    let inode = self.inode(file);
                    for change in std::mem::take(&mut inode.pending) {
                        apply(&mut inode.synced, &change);
                    }
                }
            }
            Event::FolderSynced => {
                if self.syncs != Syncs::None {
                    self.synced_names.clone_from(&self.names);
                    self.naming.clear();
                }
            }
            Event::Removed(file) => {
                self.names.remove(file).expect("a file that is there");
                self.naming.push(Naming::Unlink(file.clone()));
            }
            Event::Acknowledged { .. } => {}
        }
    }

    fn inode(&mut self, file: &str) -> &mut Inode {
        let inode = *self.names.get(file).expect("a file that is there");
        &mut self.inodes[inode]
    }

    pub(crate) fn after_a_cut(&self, what: What, dice: &mut Dice) -> Image {
        let renamed = match what {
            What::Nothing => 0,
            What::Everything => self.naming.len(),
            What::SomeSectors => dice.below(self.naming.len() + 1),
        };
        let mut names = self.synced_names.clone();
        for naming in &self.naming[..renamed] {
            match naming {
                Naming::Link(name, inode) => names.insert(name.clone(), *inode),
                Naming::Unlink(name) => names.remove(name),
            };
        }
        let files = names.into_iter().map(|(name, inode)| {
            let inode = &self.inodes[inode];
            let mut bytes = inode.synced.clone();
            for change in &inode.pending {
                match what {
                    What::Nothing => {}
                    What::Everything => apply(&mut bytes, change),
                    What::SomeSectors => apply_some(&mut bytes, change, dice),
                }
            }
            (name, bytes)
        });
        Image(files.collect())
    }
}

fn apply(file: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Truncate(length) => file.resize(*length, 0),
        Change::Write { at, bytes } => put(file, *at, bytes),
    }
}

fn put(file: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    let end = at + bytes.len();
    if file.len() < end {
        file.resize(end, 0);
    }
    file[at..end].copy_from_slice(bytes);
}

fn apply_some(file: &mut Vec<u8>, change: &Change, dice: &mut Dice) {
    let Change::Write { at, bytes } = change else {
        if dice.below(2) == 0 {
            apply(file, change);
        }
        return;
    };
    // Whole writes, lost ones, and torn ones in equal parts.
    let fate = dice.below(3);
    let mut from = *at;
    let end = at + bytes.len();
    while from < end {
        let to = ((from / SECTOR + 1) * SECTOR).min(end);
        if fate == 0 || fate == 1 && dice.below(2) == 0 {
            put(file, from, &bytes[from - at..to - at]);
        }
        from = to;
    }
}
