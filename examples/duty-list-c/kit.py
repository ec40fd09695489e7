#!/usr/bin/env python3
"""Changes duty lists for calbridge's conformance kit: `kit.py clear|put|remove|held` in the folder of `world.toml`.

The kit gives one JSON document on standard input. See `world.toml`.
"""

import json
import pathlib
import sys

ask = json.load(sys.stdin)
path = pathlib.Path("lists") / f"{ask['calendar']}.txt"
lines = path.read_text().splitlines() if path.exists() else []
others = [line for line in lines if line.split(" ")[0] != ask.get("name")]

match sys.argv[1]:
    case "clear":
        path.parent.mkdir(exist_ok=True)
        path.write_text("")
    case "put":
        if "T" not in ask["start"]:
            # Duty lists know no whole days.
            sys.exit(3)
        line = f"{ask['name']} {ask['start']} {ask['end']} {ask['subject']}"
        path.write_text("\n".join([*others, line]) + "\n")
    case "remove":
        path.write_text("".join(line + "\n" for line in others))
    case "held":
        print(json.dumps([dict(zip(("start", "end"), line.split(" ")[1:3])) for line in lines]))
