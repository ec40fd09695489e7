#!/usr/bin/env python3
"""Reads one mailbox of 5,000 appointments with exchangelib and with calbridge's connector, and compares.

usage: exchangelib_figures.py SANDBOX_EXAMPLE READER_EXAMPLE [COUNT]

SANDBOX_EXAMPLE is sandbox's example exchange_for_exchangelib, READER_EXAMPLE is exchange-ews' example read_mailbox; both
are to be release builds. Both clients read the same window of the same mailbox with the same fields over TLS; what they
read must be the same, event by event. Of exchangelib the reading alone is counted, without its imports, with the page
size that does best; of ours the whole process. Prints requests, CPU seconds and wall seconds; the exit code is 0 if
both read the same.
"""
import json
import os
import resource
import subprocess
import sys
import time

PAGES = (100, 250, 500, 1000)
BOTH = ("uid", "start", "end", "show_as", "cancelled", "subject", "location", "private", "categories")


def with_exchangelib(seeded, page):
    """In a process of its own: prints its figures, then the events."""
    os.environ["REQUESTS_CA_BUNDLE"] = str(seeded["ca"])
    os.environ["NO_PROXY"] = "*"
    import warnings

    from exchangelib import IMPERSONATION, Account, Configuration, Credentials, EWSDateTime

    warnings.simplefilter("ignore")
    configuration = Configuration(
        service_endpoint=seeded["url"],
        credentials=Credentials(username=seeded["user"], password=seeded["password"]),
        auth_type="basic",
        max_connections=1,
    )
    account = Account(
        primary_smtp_address=seeded["mailbox"], config=configuration, autodiscover=False, access_type=IMPERSONATION
    )
    begin, end = (EWSDateTime.from_string(seeded[key]) for key in ("from", "to"))
    cpu, wall = time.process_time(), time.monotonic()
    items = account.calendar.filter(start__lt=end, end__gt=begin).only(
        "uid", "start", "end", "legacy_free_busy_status", "is_cancelled", "subject", "location", "sensitivity", "categories"
    )
    items.page_size = page
    events = list(items)
    figures = {"cpu": time.process_time() - cpu, "wall": time.monotonic() - wall}
    print(json.dumps(figures))
    for item in events:
        told = {
            "uid": item.uid,
            "start": item.start.astimezone(begin.tzinfo).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "end": item.end.astimezone(begin.tzinfo).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "show_as": item.legacy_free_busy_status.lower(),
            "cancelled": bool(item.is_cancelled),
            "subject": item.subject,
            "location": item.location,
            "private": item.sensitivity == "Private",
            "categories": item.categories or [],
        }
        print(json.dumps(told))


def child(command, told):
    """Runs a program: what it printed, CPU and wall seconds, peak memory in MB."""
    begun = time.monotonic()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, input=told, stdout=subprocess.PIPE, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return done.stdout.splitlines(), cpu, time.monotonic() - begun


def compared(lines):
    events = [json.loads(line) for line in lines]
    return sorted(json.dumps({key: event.get(key) or None for key in BOTH}, sort_keys=True) for event in events)


def main():
    sandbox, reader, count = sys.argv[1], sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else "5000"
    with subprocess.Popen([sandbox, count], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        seeded = json.loads(server.stdout.readline())

        def requests():
            server.stdin.write("requests\n")
            server.stdin.flush()
            return int(server.stdout.readline())

        rows, theirs = [], None
        for page in PAGES:
            requests()
            lines, _, _ = child([sys.executable, __file__, "--exchangelib", str(page)], json.dumps(seeded))
            figures = json.loads(lines[0])
            rows.append((f"exchangelib, pages of {page}", requests(), figures["cpu"], figures["wall"]))
            theirs = compared(lines[1:])
        task = {
            "settings": {
                "url": seeded["url"],
                "auth": {"kind": "basic", "user": seeded["user"], "password": "env:PASSWORD"},
                "http": {"extra_ca": [str(seeded["ca"])]},
            },
            "password": seeded["password"],
            "mailbox": seeded["mailbox"],
            "from": seeded["from"],
            "to": seeded["to"],
            "fields": ["time", "show-as", "subject", "location", "private", "categories"],
        }
        requests()
        lines, cpu, wall = child([reader], json.dumps(task) + "\n")
        rows.append(("calbridge", requests(), cpu, wall))
        ours = compared(lines)
        server.stdin.close()
    print(f"{'':28} {'requests':>8} {'CPU s':>8} {'wall s':>8}")
    for name, calls, cpu, wall in rows:
        print(f"{name:28} {calls:8} {cpu:8.3f} {wall:8.3f}")
    best = min(row[2] for row in rows[:-1])
    print(f"{len(ours)} and {len(theirs)} appointments read; ours takes {rows[-1][2] / best:.3f} of the CPU of exchangelib at its best")
    if ours != theirs or len(ours) != int(count):
        different = set(ours) ^ set(theirs)
        print(f"the readings differ: {len(different)} lines, for example {sorted(different)[:2]}")
        return 1
    return 0


if __name__ == "__main__":
    if len(sys.argv) > 2 and sys.argv[1] == "--exchangelib":
        with_exchangelib(json.loads(sys.stdin.readline()), int(sys.argv[2]))
    else:
        sys.exit(main())
