//! The loop over the real store, with two systems in memory: what one calendar's trouble, a broken feed, an
//! outage or a restart do to the whole. Test names carry the ids of Kommuneklienten's behaviour table where
//! they show a case.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::panic)]

mod cases;
mod clocks;
mod contact;
mod guarding;
mod keeping;
mod observing;
mod operators;
mod reading;
mod rosters;
mod scripted;
mod service;
mod settling;
mod systems;
mod timetable;
mod unanswered;
mod writing;
mod wrong_clock;
