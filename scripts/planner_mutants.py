#!/usr/bin/env python3
"""Spoils the planner in one place at a time and plays simulated lives: each of the spoilt ones must be caught.

A simulation that catches nothing shows nothing. Each mutant is a copy of the tree with one replacement; it counts as
caught if it compiles and the simulation fails. Usage: planner_mutants.py [NAME ...]. What is built lies apart from the
main build, which must not take a spoilt planner for its own.
"""

import os
import pathlib
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
ENGINE = "core/src/engine/"
SEEDS = "40"

# name: (file, what stands there, what stands there instead)
MUTANTS = {
    "cancelled-counts": ("project.rs", "if event.cancelled {", "if event.cancelled && event.origin.is_some() {"),
    "free-counts": ("project.rs", "== Some(ShowAs::Free)", "== Some(ShowAs::Other)"),
    "empty-counts": ("project.rs", "if event.content.time.is_empty() {", "if event.content.time.is_empty() && event.cancelled {"),
    "losses-are-not-seen": ("inventory.rs", "if listed.contains(&position)\n", "if position < usize::MAX\n            || listed.contains(&position)\n"),
    "tonight-is-ahead": ("project.rs", "if wall.end.date() < rules.first_day {", "if wall.end.date() > rules.first_day {"),
    "lost-stays-lost": ("decide.rs", "Known::Absent if row.agreed.is_some() => decision(Intent::Create { content }, Reason::Lost)", "Known::Absent if row.agreed.is_some() => decision(Intent::Nothing, Reason::Lost)"),
    "past-is-not-frozen": ("decide.rs", "held.is_some_and(|held| held.time.wall_in(zone).last_day() < first_day)", "held.is_none()"),
    "tampering-stays": ("decide.rs", "decision(Intent::PutBack { content }, Reason::SinkChanged)", "decision(Intent::Nothing, Reason::SinkChanged)"),
    "nothing-is-deleted": ("decide.rs", "_ => decision(Intent::Delete, Reason::Absent(*why)),", "_ => decision(Intent::Nothing, Reason::Absent(*why)),"),
    "waiting-for-ever": ("schedule.rs", "Some(retry) if waits(retry.not_before, now) =>", "Some(retry) if retry.not_before < now =>"),
    "lengths-do-not-matter": ("fingerprint.rs", 'format!("{}/{}", wall.start, wall.end)', 'format!("{}/{}", wall.start, wall.start)'),
    "nothing-is-held": ("guard.rs", "    empties || many\n", "    empties && many && limits.count > 1000\n"),
    "emptied-is-fine": ("guard.rs", "staying.is_empty() && before > count(limits.empty_above)", "staying.is_empty() && before > 1000"),
    "nothing-pairs": ("identity.rs", "    for rule in rules {", "    for rule in rules.into_iter().take(0) {"),
    "removed-is-there": ("outcome.rs", "(Probe::Found { .. }, Some(Op::Delete)) | (Probe::Absent, Some(Op::Create) | None) => {", "(Probe::Found { .. }, _) | (Probe::Absent, Some(Op::Create) | None) => {"),
    "unanswered-is-done": ("outcome.rs", "        row.sink.state = OnSink::Unknown;\n        if row", "        row.sink.state = OnSink::Present;\n        if row"),
    "attempts-are-not-kept": ("apply.rs", "commit.update.clone_from(&rows);", "commit.update.clear();"),
    "tampering-is-not-seen": ("inventory.rs", "if entry.content.is_some() {", "if entry.content.is_none() {"),
}


def spoil(tree, name):
    file, old, new = MUTANTS[name]
    path = tree / ENGINE / file
    text = path.read_text()
    if text.count(old) != 1:
        sys.exit(f"{name}: `{old}` stands {text.count(old)} times in {file}; bring the mutant up to date")
    path.write_text(text.replace(old, new))


def main():
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "mutants"
    tree = target / "tree"
    names = sys.argv[1:] or list(MUTANTS)
    survivors = []
    for name in names:
        shutil.rmtree(tree, ignore_errors=True)
        keep = shutil.ignore_patterns("target", ".git", "fuzz")
        shutil.copytree(ROOT, tree, ignore=keep)
        spoil(tree, name)
        environment = dict(os.environ, CARGO_TARGET_DIR=str(target), CALBRIDGE_SEEDS=SEEDS, CALBRIDGE_PATIENCE="0", RUST_BACKTRACE="0")
        command = ["cargo", "test", "--quiet", "-p", "calbridge-core", "--features", "sqlite", "--test", "simulation"]
        build = subprocess.run([*command, "--no-run"], cwd=tree, env=environment, capture_output=True, text=True)
        if build.returncode != 0:
            sys.exit(f"{name} does not compile:\n{build.stderr}")
        run = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True)
        lives = [line for line in run.stdout.splitlines() if line.startswith("seed ")]
        caught = run.returncode != 0 and lives
        print(f"{name}: {'caught, ' + lives[0][:150] if caught else 'SURVIVES'}", flush=True)
        if not caught:
            survivors.append(name)
    shutil.rmtree(tree, ignore_errors=True)
    if survivors:
        sys.exit(f"not caught: {', '.join(survivors)}")
    print(f"all {len(names)} mutants caught")


main()
