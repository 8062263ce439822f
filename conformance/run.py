#!/usr/bin/env python3
"""Compares how this server reads messages with how other implementations read them.

The messages are the vectors, generated requests, and mutants of both from a fixed seed. This server
must refuse what another implementation refuses, or the difference must be explained. If both accept
a message, its bodies must be the same. If only this server refuses, the vector names the section of
the RFC behind the rule; for a mutant, the reason of the rejection names it.

Needs Python and cargo, and node for the oracle that is a Node.js server. Creates its own virtual
environment.
"""

import argparse
import collections
import os
import pathlib
import shutil
import subprocess
import sys
import venv

sys.dont_write_bytecode = True

from explained import REFUSALS_HERE, explain  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
COLUMNS = {
    "same": ("same", 8, "the same verdict, and the same bodies"),
    "sooner": ("~", 6, "refused here, while the other waits for more"),
    "stricter": ("+", 6, "refused here, accepted there"),
    "explained": ("-", 5, "accepted here, refused there, and explained"),
    "unexplained": ("!", 3, "a difference that nothing explains"),
}

Message = collections.namedtuple("Message", "kind name title section lengths ending statuses data")
Verdict = collections.namedtuple("Verdict", "lengths ending reason")


def run(command, **options):
    return subprocess.run(command, check=True, text=True, **options)


def lengths(text):
    return [int(length) for length in text.split(",") if length]


def messages(mutants):
    command = ["cargo", "run", "-q", "-p", "heartbeat-protocol", "--example", "verdicts"]
    output = run([*command, str(mutants)], cwd=ROOT, stdout=subprocess.PIPE).stdout
    rows = [line.split("\t") for line in output.splitlines()]
    return [Message(*row[:4], lengths(row[4]), *row[5:]) for row in rows]


def oracles():
    """The commands of the oracles by name."""
    folder = TARGET / "conformance" / "venv"
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
    pip = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    run([*pip, "-r", HERE / "requirements.txt"])
    manifest = HERE / "hyper" / "Cargo.toml"
    run(["cargo", "build", "-q", "--locked", "--manifest-path", manifest, "--target-dir", TARGET])
    commands = {
        "h11": [python, HERE / "python_oracle.py", "h11"],
        "httptools": [python, HERE / "python_oracle.py", "httptools"],
        "hyper": [TARGET / "debug" / "hyper-oracle"],
    }
    if shutil.which("node"):
        commands["node"] = ["node", HERE / "node_oracle.js"]
    return commands


def verdicts(command, corpus):
    data = "".join(message.data + "\n" for message in corpus)
    output = run(command, input=data, stdout=subprocess.PIPE).stdout
    rows = [line.split("\t") for line in output.splitlines()]
    assert len(rows) == len(corpus), f"{command}: {len(rows)} verdicts for {len(corpus)} messages"
    return [Verdict(lengths(row[0]), row[1], row[2]) for row in rows]


def compare(ours, theirs):
    """The column of a verdict, before differences are explained."""
    count = len(ours.lengths)
    refused = ours.ending in REFUSALS_HERE
    if theirs.lengths[:count] != ours.lengths[: len(theirs.lengths)]:
        return "unexplained"
    if len(theirs.lengths) < count:
        return "unexplained"
    if ours.ending in ("close", "unread"):
        return "same"
    if refused:
        as_many = len(theirs.lengths) == count
        if as_many and theirs.ending == "refuses":
            return "same"
        return "sooner" if as_many and theirs.ending == "waits" else "stricter"
    if len(theirs.lengths) > count:
        return "unexplained"
    # The other refuses a message that is still incomplete here: nothing was accepted wrongly.
    if ours.ending == "waits":
        return "same"
    # All bytes were read here, but not there: what follows would be read differently.
    return "unexplained" if theirs.ending in ("refuses", "waits") else "same"


def table(tally, names):
    """Prints a row per title, with the count of each column for each oracle."""
    width = max(map(len, tally))
    room = sum(size for _, size, _ in COLUMNS.values())
    print("\n" + " " * width + "".join(f"{name:>{room}}" for name in names))
    heads = "".join(f"{sign:>{size}}" for sign, size, _ in COLUMNS.values())
    print(" " * width + heads * len(names))
    for title in sorted(tally, key=lambda title: (not title.startswith("RFC"), title)):
        counts = [tally[title][name] for name in names]
        cells = [f"{count[it]:>{COLUMNS[it][1]}}" for count in counts for it in COLUMNS]
        print(f"{title:{width}}" + "".join(cells))
    for sign, _, meaning in COLUMNS.values():
        print(f"{sign:>6}  {meaning}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mutants", type=int, default=20, help="mutants of each message")
    parser.add_argument("--verbose", action="store_true", help="name every vector that differs")
    arguments = parser.parse_args()

    corpus = messages(arguments.mutants)
    kinds = collections.Counter(message.kind for message in corpus)
    print(", ".join(f"{count} {kind}" for kind, count in kinds.items()))
    tally = collections.defaultdict(lambda: collections.defaultdict(collections.Counter))
    stricter = collections.defaultdict(collections.Counter)
    explained = collections.Counter()
    failures = []
    names = []
    for name, command in oracles().items():
        names.append(name)
        for message, verdict in zip(corpus, verdicts(command, corpus)):
            column = compare(message, verdict)
            why = explain(name, message, verdict) if column == "unexplained" else None
            if why:
                column = "explained"
                explained[name, why] += 1
            if column == "unexplained":
                failures.append((name, message, verdict))
            if column == "stricter":
                stricter[message.ending][name] += 1
            tally[message.title][name][column] += 1
            if arguments.verbose and message.kind == "vector" and column != "same":
                sign = COLUMNS[column][0]
                print(f"{sign} {name:10} {message.name} ({message.section})  {verdict.reason}")

    table(tally, names)
    print("\nRefused here and accepted there, by reason, with the sections of the RFCs:")
    for reason, counts in sorted(stricter.items()):
        listed = ", ".join(f"{name} {counts[name]}" for name in names if counts[name])
        print(f"  {reason:22} {REFUSALS_HERE[reason]:34} {listed}")
    print("\nAccepted here and refused there, and why that is right:")
    for (name, why), count in sorted(explained.items()):
        print(f"  {name:10} {count:5}  {why}")
    for name, message, verdict in failures[:40]:
        print(f"\nUNEXPLAINED {name}: {message.kind} {message.name} ({message.section})")
        print(f"  here  {message.lengths} {message.ending} {message.statuses}")
        print(f"  there {verdict.lengths} {verdict.ending} {verdict.reason}")
        print(f"  {bytes.fromhex(message.data)!r}")
    counts = f"{len(corpus)} messages, {len(names)} oracles, {len(failures)} unexplained"
    print(f"\nconformance: {counts}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
