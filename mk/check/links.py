#!/usr/bin/env python3
"""Checks that every link between the project's pages leads somewhere: the file is there, a folder has a README.md, and a page has
the heading that is named; and that a page shows every picture of docs/img. Links to other sites are not followed."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


def files(pattern):
    listed = subprocess.run(["git", "ls-files", pattern], cwd=ROOT, capture_output=True, check=True, text=True).stdout
    return [ROOT / line for line in listed.splitlines()]


def prose(page):
    """Without blocks of code, in which brackets and number signs mean other things."""
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def headings(page):
    """As GitHub names them."""
    names = []
    for words in re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", words).lower()
        name = re.sub(r"[^\w\- ]", "", words).strip().replace(" ", "-")
        names.append(f"{name}-{names.count(name)}" if name in names else name)
    return names


def errors():
    unseen = set(files("docs/img/*"))
    for page in files("*.md"):
        name = page.relative_to(ROOT)
        for target in LINK.findall(prose(page)):
            if re.match(r"[a-z]+:", target):
                continue
            path, _, heading = target.partition("#")
            file = (page.parent / path).resolve() if path else page
            if file.is_dir():
                file = file / "README.md"
            unseen.discard(file)
            if not file.exists():
                yield f"{name}: {target}: there is no {file.relative_to(ROOT)}"
            elif heading and heading not in headings(file):
                yield f"{name}: {target}: {file.relative_to(ROOT)} has no such heading"
    for picture in sorted(unseen):
        yield f"{picture.relative_to(ROOT)}: no page shows it"


def main():
    found = list(errors())
    for error in found:
        print(f"links: {error}", file=sys.stderr)
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
