//! The tests: their names, and what each is about.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::kit::{Done, Kit};
use crate::{contained, opening, sinks, sources};

/// A test of the kit.
#[derive(Debug)]
pub struct Test {
    /// Its name; stays.
    pub name: &'static str,
    /// What it is about, in a sentence.
    pub about: &'static str,
    /// Whether it is one of those that are run for each way in which a connector is carried.
    pub smoke: bool,
    pub(crate) run: fn(Arc<Kit>) -> BoxFuture<'static, Done>,
}

macro_rules! tests {
    ($($name:ident $smoke:literal $run:path: $about:literal;)*) => {
        &[$(Test {
            name: stringify!($name),
            about: $about,
            smoke: $smoke,
            run: |kit| Box::pin(async move { $run(&kit).await }),
        }),*]
    };
}

/// All tests, in the order in which they run.
#[must_use]
pub fn tests() -> &'static [Test] {
    tests! {
        manifest_is_complete true opening::manifest:
            "The manifest has an id, a version and a title, and what it promises fits together.";
        settings_are_described false opening::schema:
            "The settings' schema is a JSON Schema, and each setting has a description for the operator.";
        settings_are_accepted true opening::settings_work:
            "Settings that should work fit the schema, and a connection opens with them.";
        missing_setting_is_named true opening::missing_setting:
            "Without a required setting the error is of kind Config and names it.";
        unknown_setting_is_refused true opening::unknown_setting:
            "A misspelt setting is a mistake, not a default.";
        open_needs_no_network false opening::opens_offline:
            "Opening a connection does no network: configuration is checked on machines that reach nothing.";
        check_passes true opening::check_passes:
            "`check` finds nothing wrong with a system that works.";
        check_tells_trouble false opening::check_tells_trouble:
            "`check` finds something wrong when nothing can be reached.";
        wrong_secret_is_auth true opening::wrong_secret:
            "A refused secret is an error of kind Auth and scope Connection, so that it is not tried until an account is locked.";
        refused_sign_in_does_not_pass false opening::refused_sign_in:
            "An account or certificate that the system does not let in is an error of kind Auth or Permission and scope Connection, not one that passes.";
        out_of_reach_is_transient false opening::unreachable:
            "A system that cannot be reached is tried again later, and nothing is concluded from it.";
        roster_is_stable true opening::roster:
            "The roster names everybody once, and the same ones each time.";
        full_reading_tells_everything true sources::full_reading:
            "The first reading tells what is in the calendar, no more and no less.";
        empty_calendar_is_empty false sources::empty_calendar:
            "An empty calendar is read as one.";
        window_is_kept_and_rolls true sources::only_the_window:
            "Only the window is told, and when it grows, what it lacked is told although nothing changed.";
        only_what_was_asked_is_told true sources::only_what_was_asked:
            "For times alone no title, place or text is told.";
        declared_fields_are_told false sources::declared_fields:
            "Each field that the connector declares is told when it is asked for, and free or busy always.";
        unchanged_calendar_is_quiet true sources::unchanged_is_quiet:
            "A calendar that has not changed is not told again.";
        new_appointment_is_told true sources::a_new_one:
            "What is new since the cursor is told, and not again from the cursor after it.";
        changed_appointment_is_told true sources::a_changed_one:
            "What was moved since the cursor is told once, and its old time is forgotten.";
        deleted_appointment_is_gone true sources::a_deleted_one:
            "What was deleted since the cursor is gone, also the last one.";
        moved_out_of_the_window_is_gone false sources::out_of_the_window:
            "What was moved out of the window is gone from it.";
        cursor_outlives_the_connection true sources::cursor_outlives_the_connection:
            "A cursor is good on another connection, after a restart.";
        strange_cursor_is_expired true sources::strange_cursors:
            "A cursor that the connector never gave is CursorExpired, or everything is told; never silently nothing.";
        everything_is_told_on_demand false sources::full_reading_on_demand:
            "Asked to read everything again, the connector does, whatever the cursor says.";
        batches_keep_to_the_limit true sources::batches:
            "A batch has no more changes than were asked for.";
        broken_off_reading_loses_nothing false sources::broken_off:
            "A reading that is broken off and begun again at the stored cursor loses nothing.";
        fetch_answers_in_order true sources::fetching:
            "Single items are answered one by one, in order, and what is gone is NotFound.";
        keys_are_stable false sources::stable_keys:
            "The same appointment has the same key and item each time, and keeps its key when it is moved.";
        series_are_told_as_occurrences false sources::series:
            "A series is told as its occurrences, with one moved and one left out, and goes as a whole.";
        whole_days_are_dates false sources::whole_days:
            "Whole days are told as dates.";
        clock_changes_move_nothing false sources::clock_changes:
            "Around the change to and from summer time instants are told as they are.";
        any_text_comes_through false sources::any_text:
            "Titles may hold any letters and signs.";
        private_ones_are_marked false sources::private_ones:
            "Private appointments are told, and marked.";
        calendars_are_read_apart false sources::do_not_mix:
            "Two calendars that are read at the same time do not mix.";
        missing_calendar_is_an_error false sources::missing_calendar:
            "A calendar that is not there is an error of that calendar, and not an empty calendar.";
        failed_listing_deletes_nothing false sources::failing_listing:
            "A listing that fails half-way is an error, and makes nothing gone.";
        throttled_reading_says_so false sources::throttled:
            "A system that asks to slow down is an error of kind Throttled.";
        watch_gives_hints false sources::watching:
            "A change in a watched calendar gives a hint.";
        create_makes_a_record true sinks::create:
            "What is created is there, once, as the inventory and the system itself tell.";
        whole_days_are_written false sinks::whole_days:
            "Whole days are written as such, or the outcome says what was stored instead.";
        update_changes_a_record true sinks::update:
            "What is updated holds the new content, and nothing else changes.";
        delete_removes_a_record true sinks::delete:
            "What is deleted is gone, and nothing else is.";
        delete_twice_is_done false sinks::delete_twice:
            "Deleting what is gone is done.";
        repeated_create_makes_one_record true sinks::create_twice:
            "An attempt to create that is repeated makes no second record.";
        update_of_nothing_is_a_conflict false sinks::update_of_nothing:
            "Updating what is gone is a conflict that says so, or makes it anew.";
        older_version_is_a_conflict false sinks::stale_version:
            "A write against an older version is refused with what is there.";
        each_write_has_its_outcome true sinks::one_outcome_each:
            "In a batch each write has just one outcome, matched by its id.";
        one_bad_write_spoils_no_other false sinks::one_bad_write:
            "One write that the system refuses does not keep the others from being done.";
        inventory_keeps_to_the_window false sinks::inventory_window:
            "The inventory lists what is in the window, and says that the calendar is complete.";
        failed_inventory_forgets_nothing false sinks::failing_inventory:
            "A listing of what the sink holds that fails half-way is an error, and is not told as a complete one.";
        calendars_are_written_apart false sinks::calendars_do_not_mix:
            "Records of two calendars do not mix.";
        probe_tells_attempts_apart false sinks::probing:
            "The probe finds an attempt that was made, and not one that was not.";
        throttled_writing_says_so false sinks::throttled:
            "A system that asks to slow down when it is written is an error of kind Throttled.";
        several_calls_at_once false contained::at_once:
            "Several calls at the same time do not disturb each other.";
        given_up_calls_leave_nothing false contained::given_up:
            "Calls that are given up at any moment lose nothing, and the connection closes.";
        closes_in_time true contained::closes:
            "A connection closes within ten seconds, also with a feed that nobody reads on.";
        secrets_stay_secret false contained::secrets:
            "No secret stands in a log at any level, or in an error.";
        personal_data_stays_out false contained::personal_data:
            "No title and no address stands in an error, or in the log at `info` and above.";
        large_calendar_fits false sources::a_large_calendar:
            "A calendar of up to 10,000 appointments is read within 256 MiB.";
        repeated_reading_leaks_nothing false sources::leaks:
            "Reading again and again takes no more and more memory.";
        repeated_calls_leak_nothing false contained::leaks:
            "Fetching and writing again and again takes no more and more memory, files or sockets.";
    }
}
