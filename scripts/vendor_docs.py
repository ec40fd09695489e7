#!/usr/bin/env python3
"""Does what the pages for vendors tell them to, in an empty folder, and fails where they are wrong.

Every block marked `sh` of a page is run in order, in one shell that stops at the first error. Usage:
vendor_docs.py CALBRIDGE [PAGE ...], where CALBRIDGE is the program; without pages, all that have such blocks.
"""

import os
import pathlib
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGES = ROOT / "docs" / "vendors"


def blocks(page):
    """The page's `sh` blocks, each with the number of its first line."""
    found, block, begun = [], None, 0
    for number, line in enumerate(page.read_text().splitlines(), 1):
        if block is None:
            if line == "```sh":
                block, begun = [], number + 1
        elif line == "```":
            found.append((begun, "\n".join(block)))
            block = None
        else:
            block.append(line)
    return found


def run(page, program):
    found = blocks(page)
    if not found:
        return True
    with tempfile.TemporaryDirectory(prefix="vendor-") as folder:
        # Others may not write where a library is loaded from.
        os.chmod(folder, 0o755)
        script = ["set -eu -o pipefail"]
        for line, text in found:
            script += [f"echo '-- {page.name}, line {line}'", text, f"echo \"   step took $((SECONDS - at)) s\"; at=$SECONDS"]
        script.insert(1, "at=$SECONDS")
        environment = dict(
            os.environ,
            CALBRIDGE=str(ROOT),
            PATH=f"{program.parent}{os.pathsep}{os.environ['PATH']}",
            CARGO_TERM_COLOR="never",
        )
        # The crate is a vendor's: it is built in its own folder.
        environment.pop("CARGO_TARGET_DIR", None)
        begun = time.monotonic()
        done = subprocess.run(["bash", "-c", "\n".join(script)], cwd=folder, env=environment)
        print(f"{page.name}: {len(found)} blocks, {time.monotonic() - begun:.0f} s, exit {done.returncode}", flush=True)
        return done.returncode == 0


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    program = pathlib.Path(sys.argv[1]).resolve()
    pages = [PAGES / name for name in sys.argv[2:]] or sorted(PAGES.glob("*.md"))
    results = [run(page, program) for page in pages]
    sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
    main()
