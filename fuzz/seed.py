#!/usr/bin/env python3
"""Writes the first corpus of each fuzz target (fuzz/corpus/TARGET) from the vectors."""

import hashlib
import pathlib
import subprocess

HERE = pathlib.Path(__file__).resolve().parent
COMMAND = ["cargo", "run", "-q", "-p", "heartbeat-protocol", "--example", "verdicts"]


def seeds():
    """The target and the bytes of each seed."""
    output = subprocess.run(COMMAND, cwd=HERE.parent, check=True, stdout=subprocess.PIPE).stdout
    for line in output.splitlines():
        data = bytes.fromhex(line.split(b"\t")[-1].decode())
        yield "connection", data
        head, _, body = data.partition(b"\r\n\r\n")
        if b"Transfer-Encoding: chunked" in head:
            yield "chunked", body
        words = data.split(b"\r\n", 1)[0].split(b" ")
        if len(words) == 3:
            yield "target", words[1]


def main():
    count = 0
    for target, data in seeds():
        folder = HERE / "corpus" / target
        folder.mkdir(parents=True, exist_ok=True)
        (folder / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
        count += 1
    print(f"{count} seeds below {HERE.name}/corpus")


main()
