//! What happens in a simulated life: drawn from a seed, applied to whatever is there then, so that any act can be
//! left out when a failure shrinks.

use proptest::collection::vec;
use proptest::prelude::*;

/// One thing that happens. Numbers choose among what is there.
#[derive(Debug, Clone)]
pub enum Act {
    /// Time passes.
    Pass {
        hours: i64,
    },
    /// calbridge looks at everything.
    Sync {
        full: bool,
        reconcile: bool,
    },
    /// Everything works for a while; what the sink holds is compared with the truth.
    Settle,

    Single {
        who: usize,
        day: i64,
        quarter: i64,
        length: i64,
        zone: u8,
    },
    Days {
        who: usize,
        day: i64,
        days: i64,
    },
    Series {
        who: usize,
        day: i64,
        quarter: i64,
        every: i32,
        count: i32,
        zone: u8,
        all_day: bool,
    },
    /// The same invitation in two calendars.
    Invite {
        day: i64,
        quarter: i64,
    },
    /// Copied with its UID.
    Copy {
        who: usize,
        item: usize,
        day: i64,
    },
    Move {
        who: usize,
        item: usize,
        quarters: i64,
    },
    Resize {
        who: usize,
        item: usize,
        length: i64,
    },
    Free {
        who: usize,
        item: usize,
        free: bool,
    },
    Cancel {
        who: usize,
        item: usize,
    },
    Delete {
        who: usize,
        item: usize,
    },
    /// Everything of a calendar goes: by mistake, and comes back; or not.
    Clear {
        who: usize,
    },
    Refill {
        who: usize,
    },
    /// Comes back under another id.
    Undelete {
        who: usize,
        item: usize,
    },
    Except {
        who: usize,
        item: usize,
        nth: i32,
        by: Option<i64>,
    },
    Regular {
        who: usize,
        item: usize,
    },
    Shorten {
        who: usize,
        item: usize,
        count: i32,
    },
    /// A single becomes a series, or a series a single.
    Repeat {
        who: usize,
        item: usize,
        every: i32,
        count: i32,
    },
    SwitchAllDay {
        who: usize,
        item: usize,
    },

    /// The sink loses a record, somebody changes one, or one appears that nobody stands for.
    Lose {
        nth: usize,
    },
    Tamper {
        nth: usize,
    },
    Ghost {
        who: usize,
        day: i64,
    },

    Reading {
        who: usize,
        trouble: Reading,
    },
    Writing {
        trouble: Writing,
    },
    /// The program dies at this call of either system, at the next sync.
    Crash {
        call: u32,
        processed: bool,
    },
    Restart,
    Backup,
    Restore,

    Rename {
        who: usize,
    },
    Leave {
        who: usize,
    },
    Return {
        who: usize,
    },
    EmptyRoster,
    Approve,
}

/// What goes wrong at the next reading of a calendar.
#[derive(Debug, Clone, Copy)]
pub enum Reading {
    Refuse,
    Throttle,
    Break {
        after: usize,
    },
    Expire,
    /// An old state is told, as a replica may.
    Stale {
        by: usize,
    },
    Unreadable {
        nth: usize,
    },
    Panic,
}

/// What goes wrong at the next calls of the sink.
#[derive(Debug, Clone, Copy)]
pub enum Writing {
    Outage {
        calls: u32,
    },
    /// Processed, not answered.
    Silent {
        calls: u32,
    },
    /// Neither processed nor answered.
    Lost {
        calls: u32,
    },
    /// Half of the batch is processed, nothing is answered.
    Half {
        calls: u32,
    },
    /// "Try again later", for every write.
    Later {
        calls: u32,
    },
    /// Whole calls are refused, as for a document that is too long.
    Busy {
        calls: u32,
    },
    Unlisted {
        calls: u32,
    },
    Panic,
}

fn reading() -> impl Strategy<Value = Reading> {
    prop_oneof![
        Just(Reading::Refuse),
        Just(Reading::Throttle),
        (0..4_usize).prop_map(|after| Reading::Break { after }),
        Just(Reading::Expire),
        (1..3_usize).prop_map(|by| Reading::Stale { by }),
        (0..9_usize).prop_map(|nth| Reading::Unreadable { nth }),
        Just(Reading::Panic),
    ]
}

fn writing() -> impl Strategy<Value = Writing> {
    let calls = || 1..4_u32;
    prop_oneof![
        calls().prop_map(|calls| Writing::Outage { calls }),
        calls().prop_map(|calls| Writing::Silent { calls }),
        calls().prop_map(|calls| Writing::Lost { calls }),
        calls().prop_map(|calls| Writing::Half { calls }),
        calls().prop_map(|calls| Writing::Later { calls }),
        calls().prop_map(|calls| Writing::Busy { calls }),
        calls().prop_map(|calls| Writing::Unlisted { calls }),
        Just(Writing::Panic),
    ]
}

fn person(people: usize) -> impl Strategy<Value = Act> {
    let who = move || 0..people;
    let day = || -3..130_i64;
    let quarter = || 0..96_i64;
    let item = || 0..40_usize;
    // Some have no length, and block nobody's time.
    let length = || prop_oneof![1 => Just(0), 15 => 1..300_i64];
    prop_oneof![
        8 => (who(), day(), quarter(), length(), 0..6_u8).prop_map(|(who, day, quarter, length, zone)| Act::Single { who, day, quarter, length, zone }),
        2 => (who(), day(), 1..15_i64).prop_map(|(who, day, days)| Act::Days { who, day, days }),
        3 => (who(), day(), quarter(), prop_oneof![Just(1), Just(7), Just(14), Just(30)], 0..30_i32, 0..6_u8, any::<bool>()).prop_map(|(who, day, quarter, every, count, zone, all_day)| Act::Series { who, day, quarter, every, count, zone, all_day: all_day && every > 1 }),
        1 => (day(), quarter()).prop_map(|(day, quarter)| Act::Invite { day, quarter }),
        1 => (who(), item(), day()).prop_map(|(who, item, day)| Act::Copy { who, item, day }),
        5 => (who(), item(), -800..4000_i64).prop_map(|(who, item, quarters)| Act::Move { who, item, quarters }),
        2 => (who(), item(), length()).prop_map(|(who, item, length)| Act::Resize { who, item, length }),
        2 => (who(), item(), any::<bool>()).prop_map(|(who, item, free)| Act::Free { who, item, free }),
        1 => (who(), item()).prop_map(|(who, item)| Act::Cancel { who, item }),
        5 => (who(), item()).prop_map(|(who, item)| Act::Delete { who, item }),
        1 => (who(), item()).prop_map(|(who, item)| Act::Undelete { who, item }),
        4 => (who(), item(), 0..40_i32, proptest::option::of(-2000..2000_i64)).prop_map(|(who, item, nth, by)| Act::Except { who, item, nth, by }),
        1 => (who(), item()).prop_map(|(who, item)| Act::Regular { who, item }),
        1 => (who(), item(), 1..20_i32).prop_map(|(who, item, count)| Act::Shorten { who, item, count }),
        1 => (who(), item(), prop_oneof![Just(0), Just(7), Just(14)], 1..12_i32).prop_map(|(who, item, every, count)| Act::Repeat { who, item, every, count }),
        1 => (who(), item()).prop_map(|(who, item)| Act::SwitchAllDay { who, item }),
        1 => prop::bool::weighted(0.4).prop_flat_map(move |goes| who().prop_map(move |who| if goes { Act::Clear { who } } else { Act::Refill { who } })),
    ]
}

fn mishap(people: usize) -> impl Strategy<Value = Act> {
    let who = move || 0..people;
    prop_oneof![
        2 => (0..200_usize).prop_map(|nth| Act::Lose { nth }),
        2 => (0..200_usize).prop_map(|nth| Act::Tamper { nth }),
        1 => (who(), 1..80_i64).prop_map(|(who, day)| Act::Ghost { who, day }),
        6 => (who(), reading()).prop_map(|(who, trouble)| Act::Reading { who, trouble }),
        6 => writing().prop_map(|trouble| Act::Writing { trouble }),
        4 => (0..30_u32, any::<bool>()).prop_map(|(call, processed)| Act::Crash { call, processed }),
        2 => Just(Act::Restart),
        1 => Just(Act::Backup),
        1 => Just(Act::Restore),
        1 => who().prop_map(|who| Act::Rename { who }),
        1 => who().prop_map(|who| Act::Leave { who }),
        2 => who().prop_map(|who| Act::Return { who }),
        1 => Just(Act::EmptyRoster),
        2 => Just(Act::Approve),
    ]
}

/// A life of about two years.
pub fn life(people: usize) -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        6 => (1..170_i64).prop_map(|hours| Act::Pass { hours }),
        7 => (prop::bool::weighted(0.1), prop::bool::weighted(0.15)).prop_map(|(full, reconcile)| Act::Sync { full, reconcile }),
        6 => person(people),
        3 => mishap(people),
        1 => prop::bool::weighted(0.25).prop_map(|now| if now { Act::Settle } else { Act::Pass { hours: 24 } }),
    ];
    vec(act, 750..800)
}
