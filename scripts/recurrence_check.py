#!/usr/bin/env python3
"""Compares what the Exchange connector tells of series with python-dateutil.

    CALBRIDGE_MATRIX=FILE cargo test -p calbridge-exchange-ews --test recurrence_matrix
    python3 scripts/recurrence_check.py FILE            exits 1 if anything differs
    python3 scripts/recurrence_check.py FILE --plain    short months as iCalendar has them: exits 1 unless the
                                                        series differ that need the table, and no others

FILE holds a series to a line: its pattern, range and changes in the words of EWS, and what was told of it. The
translation to iCalendar is this script's own. Times that the clock leaves out in spring must be those of
connectors/exchange-ews/tests/recurrence_matrix/gaps.tsv.

Needs `python-dateutil` from PyPI.
"""

import collections
import datetime as dt
import json
import pathlib
import sys

from dateutil import relativedelta, rrule, tz

GAPS = pathlib.Path(__file__).resolve().parent.parent / "connectors/exchange-ews/tests/recurrence_matrix/gaps.tsv"
DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
SETS = {"Day": range(7), "Weekday": range(5), "WeekendDay": (5, 6)}
INDEX = {"First": 1, "Second": 2, "Third": 3, "Fourth": 4, "Last": -1}
# Days that not every month has, or that none of the month's years has.
LONGEST = {2: 29, 4: 30, 6: 30, 9: 30, 11: 30}


def zone(name):
    if name == "april-to-october":
        # dateutil wants the end in winter time.
        begin = relativedelta.relativedelta(month=4, day=1, hours=2)
        end = relativedelta.relativedelta(month=10, day=1, hours=2)
        return tz.tzrange("W", 3600, "S", 7200, start=begin, end=end)
    return tz.UTC if name == "UTC" else tz.gettz(name)


def weekdays(text):
    return [day for name in text.split() for day in (SETS[name] if name in SETS else [DAYS.index(name)])]


def translate(pattern, plain):
    """The arguments of dateutil's rule, and the name of the table's row."""
    kind = pattern["kind"]
    rule = {"freq": rrule.DAILY, "interval": pattern.get("Interval", 1)}
    row = kind
    if kind == "Weekly":
        rule |= {
            "freq": rrule.WEEKLY,
            "byweekday": weekdays(pattern["DaysOfWeek"]),
            "wkst": DAYS.index(pattern["FirstDayOfWeek"]),
        }
    elif kind != "Daily":
        rule["freq"] = rrule.MONTHLY if kind.endswith("Monthly") else rrule.YEARLY
        month = pattern.get("Month")
        if month:
            rule["bymonth"] = month
        if kind.startswith("Relative"):
            rule |= {"byweekday": weekdays(pattern["DaysOfWeek"]), "bysetpos": INDEX[pattern["DayOfWeekIndex"]]}
        else:
            day = pattern["DayOfMonth"]
            short = day > 28 if not month else day > LONGEST.get(month, 31) or (month, day) == (2, 29)
            row += f" {day}" if short and not month else " at the month's end" if short else ""
            if not short or plain:
                rule["bymonthday"] = day
            elif month or day == 31:
                rule["bymonthday"] = -1
            else:
                rule |= {"bymonthday": list(range(28, day + 1)), "bysetpos": -1}
    return rule, row


def utc(moment):
    return moment.astimezone(dt.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


class Series:
    def __init__(self, line, plain):
        self.__dict__.update(line)
        self.clock = zone(line["zone"])
        self.length = dt.timedelta(minutes=line["minutes"])
        rule, self.rule_row = translate(line["pattern"], plain)
        if "EndDate" in self.range:
            rule["until"] = dt.datetime.fromisoformat(self.range["EndDate"] + "T23:59:59")
        if "NumberOfOccurrences" in self.range:
            rule["count"] = self.range["NumberOfOccurrences"]
        first = dt.datetime.fromisoformat(f"{line['start']}T{line['time']}")
        self.slots = rrule.rrule(dtstart=first, **rule)
        self.gaps = []

    def at(self, wall):
        """The moment at which a clock on the wall shows this; one that is left out is moved on."""
        moment = wall.replace(tzinfo=self.clock)
        return moment if tz.datetime_exists(moment) else tz.resolve_imaginary(moment)

    def times(self, wall):
        start, end = self.at(wall), self.at(wall + self.length)
        if end <= start:
            start = start.astimezone(dt.timezone.utc)
            end = start + self.length
        return start.astimezone(dt.timezone.utc), end.astimezone(dt.timezone.utc)

    def whole(self, wall, days, by=0):
        first = wall.date() + dt.timedelta(minutes=by)
        return f"{first}/{first + dt.timedelta(days=days)}"

    def expected(self):
        begin, end = (dt.date.fromisoformat(day) for day in self.span)
        changes = {dt.datetime.fromisoformat(one["original"]): one for one in self.changes}
        found = {}
        margin = dt.timedelta(days=3)
        midnight = lambda day: dt.datetime.combine(day, dt.time())
        for wall in self.slots.between(midnight(begin) - margin, midnight(end) + margin, inc=True):
            change = changes.pop(wall, {})
            kind, by = change.get("kind"), change.get("minutes", 0)
            if self.all_day:
                key, day = str(wall.date()), wall.date()
                time = self.whole(wall, self.length.days, by)
                if kind == "other-kind":
                    ten = wall.replace(hour=10)
                    time = f"{utc(self.at(ten))}/{utc(self.at(ten + dt.timedelta(hours=1)))}"
            else:
                first, last = self.times(wall)
                key, day = utc(first), first.date()
                shift = dt.timedelta(minutes=by)
                time = f"{utc(first + shift)}/{utc(last + shift)}"
                if kind == "other-kind":
                    time = self.whole(wall, 1)
                exists = tz.datetime_exists(wall.replace(tzinfo=self.clock))
                if not exists and begin <= wall.date() < end:
                    self.gaps.append((self.zone, wall.strftime("%Y-%m-%d %H:%M"), key))
            if begin <= day < end and kind != "deleted":
                found[key] = time
        # What was changed is an occurrence here too.
        found.update({f"changed, but no occurrence: {wall}": "" for wall in changes})
        return found


def main(path, plain):
    rows, gaps = collections.defaultdict(lambda: [0, 0, 0]), collections.Counter()
    shown = 0
    for line in open(path, encoding="utf-8"):
        series = Series(json.loads(line), plain)
        expected = series.expected()
        wrong = sorted(
            key for key in expected.keys() | series.told.keys() if expected.get(key) != series.told.get(key)
        )
        entry = rows[series.rule_row]
        entry[0] += 1
        entry[1] += len(series.told)
        entry[2] += bool(wrong)
        gaps.update(series.gaps)
        if wrong and not plain and shown < 20:
            shown += 1
            key = wrong[0]
            print(f"{series.row} {series.pattern} {series.range} in {series.zone}, {len(wrong)} differ: "
                  f"{key} is {expected.get(key)}, told {series.told.get(key)}")
    for name, (count, told, wrong) in sorted(rows.items()):
        print(f"{count:5} series {told:7} occurrences {wrong:5} series differ  {name}")
    print(f"{sum(row[0] for row in rows.values())} series, {sum(row[1] for row in rows.values())} occurrences")
    if plain:
        short = lambda name: name.endswith(("29", "30", "31", "end"))
        good = bool(rows) and all((row[2] > 0) == short(name) for name, row in rows.items())
        return 0 if good else 1
    listed = collections.Counter()
    for line in GAPS.read_text(encoding="utf-8").splitlines()[1:]:
        name, wall, clock, told, _, count = line.split("\t")
        if clock == "leaves it out":
            listed[name, wall, told] = int(count)
    for gap in listed.keys() | gaps.keys():
        if listed[gap] != gaps[gap]:
            print(f"a time that is left out: {gap}: listed {listed[gap]} times, met {gaps[gap]} times")
    differ = sum(row[2] for row in rows.values())
    print(f"{differ} series differ; {len(gaps)} starts that the clock leaves out, in {sum(gaps.values())} series")
    return 0 if rows and not differ and listed == gaps else 1


if __name__ == "__main__":
    arguments = [one for one in sys.argv[1:] if one != "--plain"]
    if len(arguments) != 1:
        sys.exit(__doc__)
    sys.exit(main(arguments[0], "--plain" in sys.argv))
