#!/usr/bin/env python3
"""Works out, without calbridge, what Planner must hold in `calbridge demo`.

    scripts/demo_expected.py            writes demo/expected/first.tsv and demo/expected/changed.tsv
    scripts/demo_expected.py --check    compares them with what is committed; exits 1 if they differ

The demo compares Planner's content with these tables, so nothing here may come from calbridge: the calendars
of demo/seeds are read by PyPI's `icalendar`, series are expanded by `python-dateutil` and, a second time, by
`recurring-ical-events`; the script stops if the two disagree. A virtual environment beside the build's other
products holds the packages.

The rules, as a municipality would put them:

 1. Planner learns of the people and rooms that it lists itself. Who is listed twice is left out, since nobody
    can tell whose calendar it would be; who has no mailbox has no appointments.
 2. Planner learns when somebody is not to be had: everything but what shows as free. A cancelled meeting is
    free, and what has no duration takes no time.
 3. Planner learns of what starts tomorrow or later and before the window's last day (Danish days). What it
    knows already stays as long as it reaches into tomorrow.
 4. Times are those of a clock on a Danish wall. A whole day lasts from midnight to midnight.
 5. A record's id is the appointment's UID; of an occurrence of a series: UID, `$` and where the rule had put
    it, on the Danish wall. Of several live appointments with one UID in one mailbox the second is `UID#2`.
    An id that was given stays, even if the whole series is moved within the day.
 6. What Planner put into a mailbox itself belongs to Planner and is not sent back.
 7. Outlook's rule for a series on the 31st: a month without such a day counts its last day. (iCalendar's
    BYMONTHDAY=31 would skip the month, so the seed of such a series is not an .ics file.)

Each line: mailbox, id, start, end; separated by tabs, sorted.
"""

import calendar
import datetime as dt
import json
import os
import pathlib
import subprocess
import sys
import venv
import zoneinfo

ROOT = pathlib.Path(__file__).resolve().parent.parent
DEMO = ROOT / "demo"
VENV = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "venv-demo"
DENMARK = zoneinfo.ZoneInfo("Europe/Copenhagen")
DAY = dt.timedelta(days=1)


def inside_venv():
    """Runs this script again with the packages that it needs."""
    python = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if os.environ.get("DEMO_EXPECTED_INSIDE") == "1":
        return
    try:
        import icalendar, recurring_ical_events, dateutil  # noqa: F401
        return
    except ImportError:
        pass
    if not python.exists():
        venv.create(VENV, with_pip=True)
    subprocess.run([python, "-m", "pip", "install", "-q", "--disable-pip-version-check",
                    "icalendar", "recurring-ical-events", "python-dateutil", "tzdata"], check=True)
    sys.exit(subprocess.run([python, __file__, *sys.argv[1:]],
                            env={**os.environ, "DEMO_EXPECTED_INSIDE": "1"}).returncode)


inside_venv()

import icalendar  # noqa: E402
import recurring_ical_events  # noqa: E402
from dateutil.relativedelta import relativedelta  # noqa: E402
from dateutil.rrule import rruleset, rrulestr  # noqa: E402


def is_day(value):
    return not isinstance(value, dt.datetime)


def on_the_wall(value):
    """A time as a Danish wall clock shows it; a day as its midnight."""
    if is_day(value):
        return dt.datetime.combine(value, dt.time())
    if value.tzinfo is None:
        return value
    return value.astimezone(DENMARK).replace(tzinfo=None)


def end_of(event):
    return event.end if "DTEND" in event or "DURATION" in event else event.start


def takes_time(event):
    """Rule 2, of one VEVENT."""
    if str(event.get("STATUS", "")).upper() == "CANCELLED":
        return False
    shown = str(event.get("X-MICROSOFT-CDO-BUSYSTATUS", "")).upper()
    if shown:
        return shown != "FREE"
    return str(event.get("TRANSP", "OPAQUE")).upper() != "TRANSPARENT"


class Appointment:
    """A single appointment, or a series with its changed occurrences."""

    def __init__(self, master, overrides=()):
        self.master = master
        self.overrides = list(overrides)

    @property
    def uid(self):
        return str(self.master["UID"])

    def is_series(self):
        return "RRULE" in self.master

    def originals(self, until):
        """Where the rule puts the occurrences, deleted ones left out: on the clock of the series' own zone."""
        start = self.master.start
        zone = None if is_day(start) else start.tzinfo
        naive = dt.datetime.combine(start, dt.time()) if is_day(start) else start.replace(tzinfo=None)
        rule = self.master["RRULE"].to_ical().decode()
        # UNTIL is an instant in UTC; dateutil wants it on the same clock as the start.
        parts = dict(part.split("=") for part in rule.split(";"))
        if "UNTIL" in parts:
            last = self.master["RRULE"]["UNTIL"][0]
            if is_day(last):
                last = dt.datetime.combine(last, dt.time(23, 59, 59))
            elif last.tzinfo is not None:
                last = last.astimezone(zone).replace(tzinfo=None)
            parts["UNTIL"] = last.strftime("%Y%m%dT%H%M%S")
        series = rruleset()
        series.rrule(rrulestr(";".join(f"{key}={value}" for key, value in parts.items()), dtstart=naive))
        for excluded in deleted_of(self.master):
            excluded = dt.datetime.combine(excluded, dt.time()) if is_day(excluded) \
                else excluded.astimezone(zone).replace(tzinfo=None)
            series.exdate(excluded)
        for at in series.between(naive, until, inc=True):
            yield at.date() if is_day(start) else at.replace(tzinfo=zone)

    def occurrences(self, until):
        """(where the rule had put it or None, start, end, whether it takes time)"""
        if not self.is_series():
            yield None, self.master.start, end_of(self.master), takes_time(self.master)
            return
        moved = {override["RECURRENCE-ID"].dt: override for override in self.overrides}
        length = wall_length(self.master)
        for original in self.originals(until):
            override = moved.pop(original, None)
            if override is not None:
                yield original, override.start, end_of(override), takes_time(override)
            else:
                yield original, original, original + length, takes_time(self.master)
        if moved:
            raise SystemExit(f"{self.uid}: a changed occurrence that the rule does not give: {sorted(moved)}")

    def check(self, first, last):
        """The second opinion: the same starts and ends by recurring-ical-events."""
        alone = icalendar.Calendar()
        for component in [self.master, *self.overrides]:
            alone.add_component(component)
        theirs = sorted((on_the_wall(event.start), on_the_wall(end_of(event)))
                        for event in recurring_ical_events.of(alone).between(first, last + DAY))
        ours = sorted((on_the_wall(start), on_the_wall(end)) for _, start, end, _ in self.occurrences(last + 2 * DAY))
        within = lambda pairs: [pair for pair in pairs if first < pair[0] < last]  # noqa: E731
        if within(theirs) != within(ours):
            raise SystemExit(f"{self.uid}: two tools disagree:\n{within(theirs)}\n{within(ours)}")


class OutlookMonthly(Appointment):
    """A series on a day of the month, by Outlook's rule (rule 7)."""

    def __init__(self, uid, start, end, day):
        event = icalendar.Event()
        event.add("UID", uid)
        event.add("DTSTART", start.replace(tzinfo=DENMARK))
        event.add("DTEND", end.replace(tzinfo=DENMARK))
        super().__init__(event)
        self.day = day

    def is_series(self):
        return True

    def originals(self, until):
        at = self.master.start
        month = at.date().replace(day=1)
        while month <= until.date():
            day = min(self.day, calendar.monthrange(month.year, month.month)[1])
            occurrence = dt.datetime.combine(month.replace(day=day), at.time(), tzinfo=DENMARK)
            if occurrence >= at:
                yield occurrence
            month += relativedelta(months=1)

    def check(self, first, last):
        pass


def wall_length(event):
    """Start to end on the clock of the series: a time change in between does not shift the end."""
    start, end = event.start, end_of(event)
    if is_day(start):
        return end - start
    return end.replace(tzinfo=None) - start.replace(tzinfo=None)


def deleted_of(event):
    found = event.get("EXDATE", [])
    for group in found if isinstance(found, list) else [found]:
        yield from (entry.dt for entry in group.dts)


def read(path):
    """The appointments of a file, in its order. One UID may occur twice: a copy."""
    appointments = []
    for event in icalendar.Calendar.from_ical(path.read_bytes()).walk("VEVENT"):
        if "RECURRENCE-ID" in event:
            series = [one for one in appointments if one.uid == str(event["UID"]) and one.is_series()]
            series[0].overrides.append(event)
        else:
            appointments.append(Appointment(event))
    return appointments


def wall(text):
    return dt.datetime.fromisoformat(text).replace(tzinfo=DENMARK)


def set_times(event, change):
    for name, key in (("DTSTART", "start"), ("DTEND", "end")):
        event.pop(name, None)
        event.pop("DURATION", None)
        event.add(name, wall(change[key]))


def show_as(event, status):
    for name in ("X-MICROSOFT-CDO-BUSYSTATUS", "TRANSP"):
        event.pop(name, None)
    event.add("X-MICROSOFT-CDO-BUSYSTATUS", status)


def apply(calendars, change):
    """Does to the calendars what a user does in Outlook."""
    for mailbox in change["mailboxes"]:
        calendar_ = calendars[mailbox]
        if change["what"] == "create":
            event = icalendar.Event()
            event.add("UID", change["uid"])
            set_times(event, change)
            calendar_.append(Appointment(event))
            continue
        found = [one for one in calendar_ if one.uid == change["uid"]
                 and ("was" not in change or one.master.start == wall(change["was"]))]
        if len(found) != 1:
            raise SystemExit(f"{change['uid']} in {mailbox}: {len(found)} appointments")
        one = found[0]
        match change["what"]:
            case "move":
                set_times(one.master, change)
            case "cancel":
                one.master.pop("STATUS", None)
                one.master.add("STATUS", "CANCELLED")
            case "free" | "busy" as status:
                show_as(one.master, status.upper())
            case "delete":
                calendar_.remove(one)
            case "move_occurrence":
                override = icalendar.Event()
                override.add("UID", change["uid"])
                override.add("RECURRENCE-ID", wall(change["occurrence"]))
                set_times(override, change)
                one.overrides.append(override)
            case "delete_occurrence":
                one.master.add("EXDATE", wall(change["occurrence"]))
            case "reschedule":
                # As in Outlook: changed and deleted occurrences are forgotten.
                one.overrides = []
                one.master.pop("EXDATE", None)
                one.master.pop("RRULE")
                one.master.add("RRULE", {"FREQ": "WEEKLY", "BYDAY": change["weekly_on"], "COUNT": change["count"]})
                set_times(one.master, change)
            case other:
                raise SystemExit(f"unknown change: {other}")


class Planner:
    """What Planner must hold, one state of the calendars after the other."""

    def __init__(self, setup):
        now = dt.datetime.fromisoformat(setup["now"]).astimezone(DENMARK)
        today = dt.datetime.combine(now.date(), dt.time())
        self.tomorrow = today + DAY
        self.end = today + relativedelta(months=setup["future_months"])
        listed = [one["address"].lower() for one in setup["planner"]["resources"]]
        self.members = {address for address in listed if listed.count(address) == 1}
        self.own = {(one["mailbox"], one["id"]) for one in setup["planner"]["own"]}
        self.known = set()
        self.ids = {}

    def id(self, mailbox, nth, uid, original):
        """Rule 5. `nth`: which of the appointments with this UID it is, from 1."""
        name = uid
        day = None
        if original is not None:
            at = on_the_wall(original)
            name += at.strftime("$%Y%m%d-%H%M%S")
            day = at.date()
        if nth > 1:
            name += f"#{nth}"
        return self.ids.setdefault((mailbox, uid, nth, day), name)

    def table(self, calendars):
        rows = []
        for mailbox, appointments in calendars.items():
            if mailbox not in self.members:
                continue
            count = {}
            for one in appointments:
                nth = count[one.uid] = count.get(one.uid, 0) + 1
                one.check(self.tomorrow - 30 * DAY, self.end)
                for original, start, end, busy in one.occurrences(self.end + 30 * DAY):
                    record = self.id(mailbox, nth, one.uid, original)
                    start, end = on_the_wall(start), on_the_wall(end)
                    known = (mailbox, record) in self.known
                    early_enough = end >= self.tomorrow if known else start >= self.tomorrow
                    if busy and start < end and early_enough and start < self.end and (mailbox, record) not in self.own:
                        rows.append((mailbox, record, start, end))
        self.known = {row[:2] for row in rows}
        return "".join(f"{mailbox}\t{record}\t{start.isoformat()}\t{end.isoformat()}\n"
                       for mailbox, record, start, end in sorted(rows))


def main():
    setup = json.loads((DEMO / "setup.json").read_text(encoding="utf-8"))
    calendars = {one["address"]: read(DEMO / "seeds" / f"{one['address']}.ics") for one in setup["exchange"]}
    for series in setup["outlook_series"]:
        start, end = (dt.datetime.fromisoformat(series[key]) for key in ("start", "end"))
        calendars[series["mailbox"]].append(
            OutlookMonthly(series["uid"], start, end, series["every_month_on_day"]))
    planner = Planner(setup)
    tables = {"first.tsv": planner.table(calendars)}
    for change in json.loads((DEMO / "changes.json").read_text(encoding="utf-8")):
        apply(calendars, change)
    tables["changed.tsv"] = planner.table(calendars)

    different = False
    for name, table in tables.items():
        path = DEMO / "expected" / name
        if "--check" in sys.argv:
            same = path.exists() and path.read_text(encoding="utf-8") == table
            different |= not same
            print(f"{name}: {table.count(chr(10))} records, {'as committed' if same else 'NOT as committed'}")
        else:
            path.write_text(table, encoding="utf-8", newline="\n")
            print(f"{name}: {table.count(chr(10))} records")
    sys.exit(1 if different else 0)


main()
