#!/usr/bin/env python3
"""Compares the ical source's expansion with an independent one.

    scripts/ical_crosscheck.py FOLDER [START END]

For each .ics file in FOLDER the occurrences in the window are listed twice: by the connector
(`cargo run -p calbridge-ical-source --example occurrences`) and by PyPI's `recurring-ical-events` on top of
`icalendar`, which a virtual environment under CARGO_TARGET_DIR holds. Compared are start and end: instants,
or days. Exits 1 if a file differs that EXPLAINED does not name, or if one named there no longer differs.

Files that may differ are named in EXPLAINED with the reason, which is printed beside the difference.
"""

import datetime as dt
import json
import os
import pathlib
import subprocess
import sys
import venv
import zoneinfo

ROOT = pathlib.Path(__file__).resolve().parent.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
VENV = TARGET / "venv-ical"
HOME = zoneinfo.ZoneInfo("Europe/Copenhagen")

EXPLAINED = {
    "broken-exchange-cdo-no-uid.ics":
        "blanks inside BYDAY: ours drops them, theirs gives the series up",
    "broken-exchange-unfolded-description.ics":
        "a VEVENT without DTSTART: ours tells it as unreadable and goes on, theirs gives the file up",
    "broken-google-bad-rrule.ics":
        "RRULE:RRULE:AnythingRandom;...: ours tells the series as unreadable, theirs guesses",
    "broken-google-empty-exdate.ics":
        "two series without UID: ours keeps them apart, theirs takes them for one",
    "broken-invalid-tzoffset.ics":
        "an offset of 53 hours: ours takes the zone by its name, theirs gives the file up",
    "broken-no-vcalendar-folded-names.ics":
        "no VCALENDAR: ours refuses the file, so that a fragment never counts as a whole calendar",
    "broken-stray-line.ics":
        "a line that is no content line: ours skips it, theirs gives the file up",
    "broken-tzone-microsoft-custom.ics":
        "an unknown zone without definition, a negative DURATION: ours tells both as unreadable, "
        "theirs takes the former as local time",
    "exchange-allday-series-moved-2026.ics":
        "UNTIL=20260817T220000Z of a series of days: the instant is midnight of the 18th where the calendar "
        "is at home, which Exchange includes; theirs cuts the text at the 17th",
    "exchange-many-windows-tz.ics":
        "a DTSTART whose quotes swallow its value: ours tells the series as unreadable, theirs leaves it out",
    "exchange-owa-display-name-tz.ics":
        "TZID with Outlook's display names: ours knows them, theirs takes local time",
    "korganizer-confidential-umlauts.ics":
        "COUNT=2 with a DTSTART that the rule does not give: DTSTART counts (RFC 5545, 3.3.10); "
        "theirs adds it to two others",
}


def inside_venv():
    """Runs this script again with the packages that it needs."""
    python = VENV / "bin" / "python"
    if not python.exists():
        venv.create(VENV, with_pip=True)
    have = subprocess.run([python, "-c", "import icalendar, recurring_ical_events"], capture_output=True)
    if have.returncode:
        subprocess.run([python, "-m", "pip", "install", "-q", "icalendar", "recurring-ical-events"], check=True)
    os.execve(python, [str(python), __file__, *sys.argv[1:]], {**os.environ, "ICAL_CROSSCHECK": "1"})


def ours(file, start, end):
    run = subprocess.run(
        [TARGET / "debug" / "examples" / "occurrences", file, stamp(start), stamp(end)],
        capture_output=True, text=True, check=True)
    listed = json.loads(run.stdout)
    if "events" not in listed:
        return None, [listed.get("error", listed.get("failed"))["message"]]
    times = sorted((e["content"]["time"]["start"], e["content"]["time"]["end"]) for e in listed["events"])
    return times, [u["error"] for u in listed["unreadable"]]


def theirs(file, start, end):
    import icalendar
    import recurring_ical_events
    times = []
    problems = []
    try:
        calendars = icalendar.Calendar.from_ical(file.read_bytes(), multiple=True)
    except Exception as error:  # the other implementation's, whatever it is
        return None, [f"{type(error).__name__}: {error}"[:150]]
    for calendar in calendars:
        try:
            # A day more on both sides; what overlaps exactly is decided below, alike for both.
            found = recurring_ical_events.of(calendar, skip_bad_series=True).between(
                start - dt.timedelta(days=1), end + dt.timedelta(days=1))
        except Exception as error:
            problems.append(f"{type(error).__name__}: {error}"[:150])
            continue
        for event in found:
            first, last = event.start, event.end
            begin, finish = instant(first), instant(last)
            overlaps = begin < end and start < finish if begin != finish else start <= begin < end
            if overlaps:
                times.append((text(first), text(last)))
    return sorted(times), problems


def instant(value):
    if not isinstance(value, dt.datetime):
        value = dt.datetime.combine(value, dt.time())
    if value.tzinfo is None:
        value = value.replace(tzinfo=HOME)
    return value.astimezone(dt.timezone.utc)


def text(value):
    return stamp(instant(value)) if isinstance(value, dt.datetime) else value.isoformat()


def stamp(value):
    return value.strftime("%Y-%m-%dT%H:%M:%SZ")


def main():
    if "ICAL_CROSSCHECK" not in os.environ:
        inside_venv()
    if len(sys.argv) not in (2, 4):
        sys.exit(__doc__)
    subprocess.run(
        ["cargo", "build", "-q", "-p", "calbridge-ical-source", "--example", "occurrences"], cwd=ROOT, check=True)
    window = sys.argv[2:4] or ["1990-01-01T00:00:00Z", "2028-01-01T00:00:00Z"]
    start, end = (dt.datetime.fromisoformat(at) for at in window)
    wrong = files = total = 0
    for file in sorted(pathlib.Path(sys.argv[1]).glob("*.ics")):
        files += 1
        mine, my_problems = ours(file, start, end)
        other, their_problems = theirs(file, start, end)
        total += len(mine or [])
        why = EXPLAINED.get(file.name)
        if (mine or []) == (other or []) and not my_problems:
            print(f"same     {file.name}: {len(mine or [])}")
            if why:
                print(f"  no longer differs, but is explained: {why}")
                wrong += 1
            continue
        print(f"{'explained' if why else 'DIFFERS'}  {file.name}: ours {mine and len(mine)}, theirs {other and len(other)}")
        if why:
            print(f"  {why}")
            continue
        wrong += 1
        for problem in my_problems:
            print(f"  ours:   {problem}")
        for problem in their_problems:
            print(f"  theirs: {problem}")
        only = lambda one, two: [time for time in one or [] if time not in (two or [])]
        for name, times in (("ours", only(mine, other)), ("theirs", only(other, mine))):
            for time in times[:5]:
                print(f"  only {name}: {time[0]} to {time[1]}")
    print(f"{files} files, {total} occurrences, {wrong} unexplained")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
