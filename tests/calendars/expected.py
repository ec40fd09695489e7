#!/usr/bin/env python3
"""Works out, without calbridge, which times the calendars of this folder take up.

    python3 tests/calendars/expected.py            writes expected.tsv
    python3 tests/calendars/expected.py --check    exits 1 if expected.tsv holds something else

Needs `icalendar` and `recurring-ical-events` from PyPI. What those cannot know (Outlook's display names of
zones, its marks for whole days and free time) is said here; files of which nothing may be believed are left out.

Each line: file, start, end, by a clock on a Danish wall; whole days from midnight to midnight.
"""

import datetime as dt
import pathlib
import sys
import zoneinfo

import icalendar
import recurring_ical_events

FOLDER = pathlib.Path(__file__).resolve().parent
DENMARK = zoneinfo.ZoneInfo("Europe/Copenhagen")
FROM, TO = dt.datetime(2026, 9, 1), dt.datetime(2027, 7, 1)

# Not whole, so that what is missing cannot be known.
NOTHING = {"broken-cut-short", "broken-page-of-a-login", "broken-empty", "broken-nesting", "broken-utf-16"}
# Single events that are not usable; the rest of their files is.
UNUSABLE = {"ranged", "backwards", "nowhere", "never", "month13", "startless", "minus"}
# Outlook shows these instead of ids.
DISPLAY_NAMES = {
    "(UTC+01:00) Brussels\\, Copenhagen\\, Madrid\\, Paris": "Europe/Paris",
    "(UTC+01:00) Brussels, Copenhagen, Madrid, Paris": "Europe/Paris",
    "(UTC-05:00) Eastern Time (US & Canada)": "America/New_York",
}


def without_unusable(text):
    kept, event = [], None
    for line in text.replace("\r\n ", "").replace("\r\n\t", "").splitlines():
        if line == "BEGIN:VEVENT":
            event = []
        if event is None:
            kept.append(line)
            continue
        event.append(line)
        if line == "END:VEVENT":
            if not any(line == f"UID:{uid}" for line in event for uid in UNUSABLE):
                kept += event
            event = None
    return "\r\n".join(kept) + "\r\n"


def on_the_wall(value):
    if not isinstance(value, dt.datetime):
        return dt.datetime.combine(value, dt.time())
    if value.tzinfo is None:
        return value
    # By way of UTC, so that a time that the clock leaves out in spring is moved on.
    return value.astimezone(dt.timezone.utc).astimezone(DENMARK).replace(tzinfo=None)


def takes_time(event):
    if str(event.get("STATUS", "")).upper() == "CANCELLED":
        return False
    shown = str(event.get("X-MICROSOFT-CDO-BUSYSTATUS", "")).upper()
    if shown in {"FREE", "TENTATIVE", "BUSY", "OOF", "WORKINGELSEWHERE"}:
        return shown != "FREE"
    return str(event.get("TRANSP", "OPAQUE")).upper() != "TRANSPARENT"


def span(event):
    start, end = event.start, event.end
    if "DTEND" not in event and "DURATION" not in event and isinstance(start, dt.datetime):
        end = start
    return on_the_wall(start), on_the_wall(end)


def lines_of(path):
    raw = path.read_bytes().replace(b"\r\n ", b"").replace(b"\r\n\t", b"")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    text = without_unusable(text.replace("\n ", ""))
    for name, zone in DISPLAY_NAMES.items():
        text = text.replace(f'"{name}"', zone)
    for calendar in icalendar.Calendar.from_ical(text, multiple=True):
        for number, event in enumerate(calendar.walk("VEVENT")):
            if "UID" not in event:
                event.add("UID", f"made-{number}")
        for event in recurring_ical_events.of(calendar).between(FROM, TO):
            start, end = span(event)
            if takes_time(event) and start < end and start < TO and end > FROM:
                yield f"{path.stem}\t{start.isoformat()}\t{end.isoformat()}"


def main():
    lines = []
    for path in FOLDER.glob("*.ics"):
        if path.stem not in NOTHING:
            lines += lines_of(path)
    table = "".join(f"{line}\n" for line in sorted(lines))
    target = FOLDER / "expected.tsv"
    if "--check" in sys.argv[1:]:
        sys.exit(0 if target.read_text() == table else "expected.tsv is not what these calendars say")
    target.write_text(table)


main()
