#!/usr/bin/env python3
"""Checks the Exchange sandbox with exchangelib (PyPI, BSD), a client that calbridge did not write.

usage: exchangelib_check.py EXAMPLE_BINARY
       exchangelib_check.py --url URL --ca FILE --user USER --password PASSWORD --expected JSON_FILE

EXAMPLE_BINARY is sandbox's example exchange_for_exchangelib; it is started, prints what it holds as JSON, and is
stopped at the end. The last line is "N passed, M failed"; the exit code is 0 only if nothing failed.
"""
import argparse
import datetime as dt
import json
import os
import subprocess
import sys
import threading
import time
import traceback
import warnings

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("example", nargs="?")
parser.add_argument("--url")
parser.add_argument("--ca")
parser.add_argument("--user")
parser.add_argument("--password")
parser.add_argument("--expected", help="JSON as the example prints it")
arguments = parser.parse_args()

process = None
if arguments.example:
    process = subprocess.Popen([arguments.example], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    seeded = json.loads(process.stdout.readline())
else:
    with open(arguments.expected, encoding="utf-8") as file:
        seeded = json.load(file)
    for key in ("url", "ca", "user", "password"):
        seeded[key] = getattr(arguments, key) or seeded.get(key)

if seeded.get("ca"):
    os.environ["REQUESTS_CA_BUNDLE"] = str(seeded["ca"])
os.environ["NO_PROXY"] = "*"

from exchangelib import (  # noqa: E402  (the CA file must be set first)
    IMPERSONATION,
    UTC,
    Account,
    CalendarItem,
    Configuration,
    Credentials,
    EWSDateTime,
    EWSTimeZone,
)
from exchangelib.errors import (  # noqa: E402
    ErrorCalendarOccurrenceIsDeletedFromRecurrence,
    ErrorNonExistentMailbox,
    ErrorSubscriptionNotFound,
    UnauthorizedError,
)
from exchangelib.protocol import BaseProtocol  # noqa: E402

warnings.simplefilter("ignore")
BaseProtocol.TIMEOUT = 20
COPENHAGEN = EWSTimeZone("Europe/Copenhagen")


def configuration(user=None, password=None):
    credentials = Credentials(username=user or seeded["user"], password=password or seeded["password"])
    return Configuration(service_endpoint=seeded["url"], credentials=credentials, auth_type="basic", max_connections=3)


def account(address, config=None):
    return Account(
        primary_smtp_address=address,
        config=config or configuration(),
        autodiscover=False,
        access_type=IMPERSONATION,
        default_timezone=COPENHAGEN,
    )


def instant(text):
    return dt.datetime.fromisoformat(text.replace("Z", "+00:00"))


def as_utc(value):
    return value.astimezone(UTC)


def fetched(item):
    item.refresh()
    return item


def start_of(item):
    if isinstance(item.start, dt.datetime):
        return item.start
    return EWSDateTime(item.start.year, item.start.month, item.start.day, tzinfo=COPENHAGEN)


passed, failures = 0, []


def check(name):
    def run(test):
        global passed
        try:
            test()
            passed += 1
            print(f"ok      {name}")
        except Exception:  # every kind of failure is a failed check
            failures.append(name)
            print(f"FAILED  {name}")
            traceback.print_exc()
        return test

    return run


def autodiscovered():
    """The library's own autodiscover, with no name server: the names of the site lead to the sandbox."""
    import pathlib
    import socket
    import tempfile
    from urllib.parse import urlparse

    from exchangelib.autodiscover import cache, discovery

    cache.AUTODISCOVER_PERSISTENT_STORAGE = pathlib.Path(tempfile.mkdtemp(), "cache")
    port = urlparse(seeded["url"]).port
    real = socket.getaddrinfo

    def lead(host, *rest, **named):
        if host == seeded["autodiscover"]:
            return real("127.0.0.1", port, *rest[1:], **named)
        if str(host).endswith("kommune.example"):
            raise socket.gaierror("there is no such name")
        return real(host, *rest, **named)

    def known(self, url):
        if urlparse(url).netloc != seeded["autodiscover"]:
            raise discovery.TransportError("there is no such name")

    socket.getaddrinfo = lead
    discovery.Autodiscovery._ensure_valid_hostname = known
    discovery.Autodiscovery._get_srv_records = lambda self, hostname: []
    return discovery


anna = account(seeded["mailbox"])
calendar = anna.calendar
window = tuple(EWSDateTime.from_datetime(instant(seeded[bound])) for bound in ("from", "to"))
by_uid = {}
for entry in seeded["expected"]:
    by_uid.setdefault(entry["uid"], []).append(entry)


@check("the server's version is read")
def _():
    assert (anna.version.build.major_version, anna.version.build.minor_version) == (15, 2), anna.version


@check("autodiscover finds the mailbox by SOAP, and what it says is used")
def _():
    if "autodiscover" not in seeded:
        print("        (skipped: the server was started without names)")
        return
    discovery = autodiscovered()
    credentials = Credentials(username=seeded["user"], password=seeded["password"])

    def find(address):
        return discovery.discover(email=address, credentials=credentials)[0]

    found = find(seeded["mailbox"])
    assert found.ews_url == f"https://{seeded['autodiscover']}/EWS/Exchange.asmx", found.ews_url
    assert found.version.build.major_version == 15, found.version
    # Another address of it, and another place to ask.
    assert find(seeded["alias"]).autodiscover_smtp_address == seeded["mailbox"]
    there = Account(
        primary_smtp_address=seeded["mailbox"],
        credentials=credentials,
        autodiscover=True,
        access_type=IMPERSONATION,
        default_timezone=COPENHAGEN,
    )
    assert there.calendar.total_count == 6, there.calendar.total_count
    try:
        find("nobody@kommune.example")
        raise AssertionError("nobody was found")
    except (ErrorNonExistentMailbox, discovery.AutoDiscoverFailed):
        pass
    # Both places lead to each other, and the library notices.
    try:
        find(seeded["elsewhere"])
        raise AssertionError("a circle was not noticed")
    except discovery.AutoDiscoverFailed:
        pass


@check("the calendar folder is found")
def _():
    assert calendar.folder_class == "IPF.Appointment"
    assert calendar.total_count == 6, calendar.total_count
    names = sorted(folder.name for folder in anna.root.walk())
    assert "Calendar" in names and "Second calendar" in names and "Old calendar" in names, names


@check("CalendarView holds exactly the true occurrences")
def _():
    found = sorted(calendar.view(start=window[0], end=window[1]), key=lambda item: (as_utc(start_of(item)), item.uid))
    expected = sorted(seeded["expected"], key=lambda entry: (instant(entry["start"]), entry["uid"]))
    assert len(found) == len(expected), (len(found), len(expected))
    for item, entry in zip(found, expected):
        assert item.uid == entry["uid"], (item.uid, entry)
        assert item.subject == entry["subject"]
        if entry["dates"]:
            # exchangelib gives all-day items as inclusive dates.
            last = dt.date.fromisoformat(entry["dates"][1]) - dt.timedelta(days=1)
            assert (item.start, item.end) == (dt.date.fromisoformat(entry["dates"][0]), last), (item.start, item.end, entry)
        else:
            assert as_utc(item.start) == instant(entry["start"]), (item.start, entry)
            assert as_utc(item.end) == instant(entry["end"]), (item.end, entry)
        assert item.legacy_free_busy_status == entry["free_busy"]
        assert item.sensitivity == entry["sensitivity"]
        assert item.is_cancelled == entry["cancelled"]
        if entry["original_start"] and item.type == "Exception":
            assert as_utc(item.original_start) == instant(entry["original_start"])
        assert item.is_recurring == (entry["original_start"] is not None)


@check("CalendarView is cut at max_items")
def _():
    assert len(list(calendar.view(start=window[0], end=window[1], max_items=3))) == 3


@check("all() lists masters and single items")
def _():
    kinds = {item.uid: item.type for item in calendar.all()}
    assert kinds == {
        "single-1": "Single",
        "single-2": "Single",
        "day-1": "Single",
        "series-1": "RecurringMaster",
        "series-2": "RecurringMaster",
        "series-3": "RecurringMaster",
    }, kinds


@check("a single item has its fields")
def _():
    item = calendar.get(subject="Byggesagsmøde")
    assert item.location == "Lokale 3" and item.sensitivity == "Private" and item.categories == ["Red"]
    assert [attendee.mailbox.email_address for attendee in item.required_attendees] == [seeded["other"]]
    assert item.organizer.email_address == seeded["mailbox"]
    assert item.reminder_is_set and item.reminder_minutes_before_start == 15
    assert item.is_meeting and item.my_response_type == "Organizer"
    assert str(item._start_timezone) == str(COPENHAGEN) or item._start_timezone.ms_id == "Romance Standard Time", item._start_timezone


# Not over a change of the clock: there exchangelib 5.6 gives a wrong last day (it takes 24 hours from the end).
@check("all-day items are days")
def _():
    item = calendar.get(subject="Holiday")
    assert item.is_all_day
    assert (item.start, item.end) == (dt.date(2026, 3, 24), dt.date(2026, 3, 25)), (item.start, item.end)
    assert item.legacy_free_busy_status == "OOF"


@check("a series has its rule, exceptions and deleted occurrences")
def _():
    master = calendar.get(subject="Weekly")
    assert master.recurrence.pattern.weekdays == [1, 4], master.recurrence.pattern
    assert master.recurrence.boundary.number == 12
    assert master.recurrence.boundary.start == dt.date(2026, 3, 2)
    (moved,) = master.modified_occurrences
    assert as_utc(moved.original_start) == instant("2026-03-09T08:00:00Z")
    assert as_utc(moved.start) == instant("2026-03-09T10:00:00Z")
    (deleted,) = master.deleted_occurrences
    assert as_utc(deleted.start) == instant("2026-03-16T08:00:00Z")
    assert as_utc(master.first_occurrence.start) == instant("2026-03-02T08:00:00Z")
    assert as_utc(master.last_occurrence.start) == instant("2026-04-09T07:00:00Z")


@check("occurrences are found by index, the master by its occurrence")
def _():
    master = calendar.get(subject="Weekly")
    first = fetched(master.occurrence(index=1))
    assert as_utc(first.start) == instant("2026-03-02T08:00:00Z") and first.type == "Occurrence"
    third = fetched(master.occurrence(index=3))
    assert third.type == "Exception" and third.subject == "Weekly, moved"
    assert fetched(third.recurring_master()).id == master.id
    try:
        fetched(master.occurrence(index=5))
    except ErrorCalendarOccurrenceIsDeletedFromRecurrence:
        return
    raise AssertionError("a deleted occurrence was found")


@check("endless monthly and yearly series")
def _():
    monthly = calendar.get(subject="Month's end").recurrence
    assert monthly.pattern.day_of_month == 31 and monthly.boundary.__class__.__name__ == "NoEndPattern"
    yearly = calendar.get(subject="Birthday").recurrence
    assert (yearly.pattern.day_of_month, yearly.pattern.month) == (10, 4)


@check("sync_items gives every item once, then changes only")
def _():
    changes = list(calendar.sync_items(only_fields=["uid", "type", "subject"], max_changes_returned=2))
    assert sorted(kind for kind, _ in changes) == ["create"] * 6, changes
    state = calendar.item_sync_state
    assert state
    assert list(calendar.sync_items(sync_state=state)) == []


@check("items of a batch fail one by one")
def _():
    ids = [(item.id, item.changekey) for item in calendar.all().only("id", "changekey")]
    missing = ids[0][0][:-1] + ("B" if ids[0][0][-1] == "b" else "b")
    results = list(anna.fetch([ids[0], (missing, None), ids[1]]))
    assert isinstance(results[0], CalendarItem) and isinstance(results[2], CalendarItem)
    assert not isinstance(results[1], CalendarItem) or results[1].id != ids[0][0]
    gone = list(anna.fetch([(ids[0][0].replace(ids[0][0][60:64], "AAAA"), None)]))
    assert isinstance(gone[0], Exception), gone


@check("filters on the server")
def _():
    found = list(calendar.filter(start__lt=window[1], end__gt=window[0], subject__contains="Holi").only("subject"))
    assert [item.subject for item in found] == ["Holiday"], found


@check("another mailbox is another calendar")
def _():
    assert [item.uid for item in account(seeded["other"]).calendar.all()] == ["bo-1"]


@check("an unknown mailbox is refused")
def _():
    try:
        account("nobody@kommune.example").calendar.refresh()
    except ErrorNonExistentMailbox:
        return
    raise AssertionError("an unknown mailbox was opened")


@check("a wrong password is refused")
def _():
    try:
        account(seeded["mailbox"], configuration(password="wrong")).calendar.refresh()
    except UnauthorizedError:
        return
    raise AssertionError("a wrong password was accepted")


@check("time zones are served")
def _():
    zones = {zone.id for zone in anna.protocol.get_timezones()}
    assert {"Romance Standard Time", "UTC", "W. Europe Standard Time"} <= zones, zones


@check("names are resolved")
def _():
    (mailbox,) = anna.protocol.resolve_names([seeded["other"]])
    assert mailbox.email_address == seeded["other"] and mailbox.name == "Bo Dahl"


@check("items are created, changed and deleted")
def _():
    item = CalendarItem(
        account=anna,
        folder=calendar,
        subject="Written",
        start=EWSDateTime(2026, 6, 1, 9, 0, tzinfo=COPENHAGEN),
        end=EWSDateTime(2026, 6, 1, 10, 0, tzinfo=COPENHAGEN),
        categories=["Blue"],
    )
    item.save(send_meeting_invitations="SendToNone")
    read = calendar.get(subject="Written")
    assert as_utc(read.start) == instant("2026-06-01T07:00:00Z") and read.categories == ["Blue"], read.start
    old = read.changekey
    read.location = "Room 3"
    read.save(update_fields=["location"], send_meeting_invitations="SendToNone")
    assert read.changekey != old
    assert calendar.get(subject="Written").location == "Room 3"
    read.delete(send_meeting_cancellations="SendToNone")
    assert not list(calendar.filter(subject="Written"))


@check("occurrences are changed and deleted")
def _():
    from exchangelib.recurrence import Recurrence, WeeklyPattern

    first = EWSDateTime(2026, 6, 1, 9, 0, tzinfo=COPENHAGEN)
    CalendarItem(
        account=anna,
        folder=calendar,
        subject="Written series",
        start=first,
        end=first + dt.timedelta(hours=1),
        recurrence=Recurrence(pattern=WeeklyPattern(interval=1, weekdays=["Monday"]), start=first.date(), number=4),
    ).save(send_meeting_invitations="SendToNone")
    master = calendar.get(subject="Written series")
    second = fetched(master.occurrence(index=2))
    second.subject = "Another"
    second.save(update_fields=["subject"], send_meeting_invitations="SendToNone")
    fetched(master.occurrence(index=3)).delete(send_meeting_cancellations="SendToNone")
    seen = calendar.view(start=EWSDateTime(2026, 6, 1, tzinfo=UTC), end=EWSDateTime(2026, 7, 1, tzinfo=UTC))
    held = sorted((item.subject, item.type, item.start.day) for item in seen if item.uid == master.uid)
    assert held == [
        ("Another", "Exception", 8),
        ("Written series", "Occurrence", 1),
        ("Written series", "Occurrence", 22),
    ], held


def appointment(subject, day):
    return CalendarItem(
        account=anna,
        folder=calendar,
        subject=subject,
        start=EWSDateTime(2026, 7, day, 9, 0, tzinfo=COPENHAGEN),
        end=EWSDateTime(2026, 7, day, 10, 0, tzinfo=COPENHAGEN),
    )


def kinds(notifications, item):
    """The kinds of the events that are about this item."""
    events = [event for notification in notifications for event in notification.events]
    return {event.ELEMENT_NAME for event in events if getattr(event, "item_id", None) and event.item_id.id == item.id}


@check("a stream tells what happens, ends, and is opened again")
def _():
    subscription = calendar.subscribe_to_streaming()
    first = appointment("Streamed", 1).save(send_meeting_invitations="SendToNone")
    told = list(calendar.get_streaming_events(subscription, connection_timeout=1))
    assert {notification.subscription_id for notification in told} == {subscription}, told
    assert kinds(told, first) == {"CreatedEvent", "ModifiedEvent"}, told

    def later():
        time.sleep(1)
        first.location = "Room 3"
        first.save(update_fields=["location"], send_meeting_invitations="SendToNone")

    thread = threading.Thread(target=later)
    thread.start()
    begun = time.monotonic()
    told = list(calendar.get_streaming_events(subscription, connection_timeout=1, max_notifications_returned=1))
    thread.join()
    took = time.monotonic() - begun
    assert 0.5 < took < 2.5, f"told after {took:.1f} s of a stream of 3 s: {told}"
    assert kinds(told, first) == {"ModifiedEvent"}, told
    first.delete(send_meeting_cancellations="SendToNone")
    told = list(calendar.get_streaming_events(subscription, connection_timeout=1))
    assert [notification for notification in told if notification.events], told
    calendar.unsubscribe(subscription)
    try:
        list(calendar.get_streaming_events(subscription, connection_timeout=1))
    except ErrorSubscriptionNotFound:
        return
    raise AssertionError("a subscription that was ended was read")


@check("one stream serves several mailboxes")
def _():
    other = account(seeded["other"])
    subscriptions = [calendar.subscribe_to_streaming(), other.calendar.subscribe_to_streaming()]
    item = CalendarItem(
        account=other,
        folder=other.calendar,
        subject="Streamed",
        start=EWSDateTime(2026, 7, 2, 9, 0, tzinfo=COPENHAGEN),
        end=EWSDateTime(2026, 7, 2, 10, 0, tzinfo=COPENHAGEN),
    ).save(send_meeting_invitations="SendToNone")
    told = list(calendar.get_streaming_events(subscriptions, connection_timeout=1))
    assert {notification.subscription_id for notification in told} == {subscriptions[1]}, told
    item.delete(send_meeting_cancellations="SendToNone")
    for subscription in subscriptions:
        calendar.unsubscribe(subscription)


@check("events are pulled by their watermarks")
def _():
    subscription, watermark = calendar.subscribe_to_pull(timeout=10)
    (nothing,) = list(calendar.get_events(subscription, watermark))
    assert [event.ELEMENT_NAME for event in nothing.events] == ["StatusEvent"], nothing
    item = appointment("Pulled", 3).save(send_meeting_invitations="SendToNone")
    told = list(calendar.get_events(subscription, watermark))
    assert kinds(told, item) == {"CreatedEvent", "ModifiedEvent"}, told
    assert told[0].previous_watermark == watermark and not told[0].more_events
    last = told[-1].events[-1].watermark
    (nothing,) = list(calendar.get_events(subscription, last))
    assert [event.ELEMENT_NAME for event in nothing.events] == ["StatusEvent"], nothing
    item.delete(send_meeting_cancellations="SendToNone")
    told = list(calendar.get_events(subscription, last))
    assert any(event.ELEMENT_NAME in ("DeletedEvent", "MovedEvent") for event in told[0].events), told
    calendar.unsubscribe(subscription)
    try:
        list(calendar.get_events(subscription, last))
    except ErrorSubscriptionNotFound:
        return
    raise AssertionError("a subscription that was ended was pulled")


def quarter_hours(day, *hours):
    """Times of 2026-08, by Danish wall clock."""
    return [EWSDateTime(2026, 8, day, hour, 15, tzinfo=COPENHAGEN) for hour in hours]


def held_in(month):
    first = EWSDateTime(2026, month, 1, tzinfo=COPENHAGEN)
    return list(calendar.view(start=first, end=EWSDateTime(2026, month + 1, 1, tzinfo=COPENHAGEN)))


@check("all-day and private items are written, and read as they were meant")
def _():
    day = CalendarItem(
        account=anna,
        folder=calendar,
        subject="Written day",
        start=dt.date(2026, 8, 10),
        end=dt.date(2026, 8, 11),
        is_all_day=True,
        legacy_free_busy_status="OOF",
    ).save(send_meeting_invitations="SendToNone")
    start, end = quarter_hours(12, 9, 10)
    secret = CalendarItem(
        account=anna, folder=calendar, subject="Written secret", start=start, end=end, sensitivity="Private"
    ).save(send_meeting_invitations="SendToNone")
    read = calendar.get(subject="Written day")
    assert (read.start, read.end, read.is_all_day) == (dt.date(2026, 8, 10), dt.date(2026, 8, 11), True), read
    assert read.legacy_free_busy_status == "OOF"
    assert calendar.get(subject="Written secret").sensitivity == "Private"
    read.start, read.end = dt.date(2026, 8, 13), dt.date(2026, 8, 13)
    read.save(update_fields=["start", "end"], send_meeting_invitations="SendToNone")
    assert [(one.start, one.end) for one in held_in(8) if one.subject == "Written day"] == [
        (dt.date(2026, 8, 13), dt.date(2026, 8, 13))
    ]
    for item in (day, secret):
        fetched(item).delete(send_meeting_cancellations="SendToNone")


@check("a series is written with exceptions that are moved, made all-day and deleted, over a change of the clock")
def _():
    from exchangelib.recurrence import Recurrence, WeeklyPattern

    first = EWSDateTime(2026, 10, 12, 9, 0, tzinfo=COPENHAGEN)
    CalendarItem(
        account=anna,
        folder=calendar,
        subject="Autumn",
        start=first,
        end=first + dt.timedelta(hours=1),
        recurrence=Recurrence(pattern=WeeklyPattern(interval=1, weekdays=["Monday"]), start=first.date(), number=6),
    ).save(send_meeting_invitations="SendToNone")
    master = calendar.get(subject="Autumn")
    moved = fetched(master.occurrence(index=3))
    moved.start, moved.end = (EWSDateTime(2026, 10, 27, hour, 0, tzinfo=COPENHAGEN) for hour in (13, 15))
    moved.save(update_fields=["start", "end"], send_meeting_invitations="SendToNone")
    fetched(master.occurrence(index=2)).delete(send_meeting_cancellations="SendToNone")
    seen = sorted(
        (as_utc(start_of(item)).isoformat(), item.type)
        for month in (10, 11)
        for item in held_in(month)
        if item.uid == master.uid
    )
    assert seen == [
        ("2026-10-12T07:00:00+00:00", "Occurrence"),
        ("2026-10-27T12:00:00+00:00", "Exception"),
        ("2026-11-02T08:00:00+00:00", "Occurrence"),
        ("2026-11-09T08:00:00+00:00", "Occurrence"),
        ("2026-11-16T08:00:00+00:00", "Occurrence"),
    ], seen
    master = fetched(master)
    (changed,) = master.modified_occurrences
    assert as_utc(changed.original_start) == instant("2026-10-26T08:00:00Z"), changed
    (gone,) = master.deleted_occurrences
    assert as_utc(gone.start) == instant("2026-10-19T07:00:00Z"), gone
    master.delete(send_meeting_cancellations="SendToNone")
    assert not [item for month in (10, 11) for item in held_in(month) if item.uid == master.uid]


@check("what was changed meanwhile is not overwritten by who forbids it")
def _():
    from exchangelib.errors import ErrorIrresolvableConflict
    from exchangelib.items import NEVER_OVERWRITE

    start, end = quarter_hours(20, 9, 10)
    item = CalendarItem(account=anna, folder=calendar, subject="Contested", start=start, end=end)
    item.save(send_meeting_invitations="SendToNone")
    stale = calendar.get(subject="Contested")
    item.location = "Room 1"
    item.save(update_fields=["location"], send_meeting_invitations="SendToNone")
    stale.location = "Room 2"
    try:
        stale.save(
            update_fields=["location"], conflict_resolution=NEVER_OVERWRITE, send_meeting_invitations="SendToNone"
        )
    except ErrorIrresolvableConflict:
        assert calendar.get(subject="Contested").location == "Room 1"
        fetched(item).delete(send_meeting_cancellations="SendToNone")
        return
    raise AssertionError("a stale change key was accepted")


@check("named properties are kept, and searched for")
def _():
    from exchangelib import ExtendedProperty

    class Mark(ExtendedProperty):
        property_set_id = "0f6a4a1e-1111-4000-8000-5d1f2a3b4c5d"
        property_name = "Mark"
        property_type = "String"

    CalendarItem.register("mark", Mark)
    try:
        start, end = quarter_hours(21, 9, 10)
        for mark in ("one", "two", None):
            CalendarItem(
                account=anna, folder=calendar, subject=f"Marked {mark}", start=start, end=end, mark=mark
            ).save(send_meeting_invitations="SendToNone")
        (found,) = calendar.filter(mark="two")
        assert (found.subject, found.mark) == ("Marked two", "two"), found
        assert sorted(item.subject for item in calendar.filter(mark__exists=True)) == ["Marked one", "Marked two"]
        for item in calendar.filter(subject__startswith="Marked "):
            item.delete(send_meeting_cancellations="SendToNone")
    finally:
        CalendarItem.deregister("mark")


@check("sync_items follows what is created, changed and deleted")
def _():
    list(calendar.sync_items(only_fields=["subject"]))
    state = calendar.item_sync_state

    def told():
        nonlocal state
        changes = list(calendar.sync_items(sync_state=state, only_fields=["subject"]))
        state = calendar.item_sync_state
        return [(kind, getattr(item, "subject", None)) for kind, item in changes]

    start, end = quarter_hours(24, 9, 10)
    made = anna.bulk_create(
        folder=calendar,
        items=[CalendarItem(subject=f"Followed {n}", start=start, end=end) for n in range(3)],
        send_meeting_invitations="SendToNone",
    )
    assert sorted(told()) == [("create", f"Followed {n}") for n in range(3)]
    one = fetched(calendar.get(subject="Followed 1"))
    rest = [item for item in made if item.id != one.id]
    one.subject = "Followed and changed"
    one.save(update_fields=["subject"], send_meeting_invitations="SendToNone")
    assert told() == [("update", "Followed and changed")]
    one.delete(send_meeting_cancellations="SendToNone")
    assert [kind for kind, _ in told()] == ["delete"]
    done = list(anna.bulk_delete(ids=rest, send_meeting_cancellations="SendToNone"))
    assert done == [True, True], done
    assert [kind for kind, _ in told()] == ["delete", "delete"]
    assert told() == []


@check("writes that say nothing about invitations are refused")
def _():
    from exchangelib.errors import ErrorSendMeetingInvitationsRequired
    from exchangelib.services import CreateItem

    start, end = quarter_hours(25, 9, 10)
    item = CalendarItem(account=anna, folder=calendar, subject="Unsaid", start=start, end=end)
    service = CreateItem(account=anna)
    payload = service.get_payload(
        items=[item],
        folder=calendar,
        message_disposition="SaveOnly",
        send_meeting_invitations="SendToNone",
    )
    del payload.attrib["SendMeetingInvitations"]
    try:
        list(service._elems_to_objs(service._get_elements(payload=payload)))
    except ErrorSendMeetingInvitationsRequired:
        return
    raise AssertionError("it was accepted")


if process:
    process.stdin.close()
    process.wait(timeout=10)
print(f"{passed} passed, {len(failures)} failed")
sys.exit(1 if failures else 0)
