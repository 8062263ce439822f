#!/usr/bin/env python3
"""Runs the server under heartbeat-io-uring.json: io_uring must come up. Then under the same profile without the
three io_uring calls, refused in the ways of Docker, containerd (EPERM) and Podman, CRI-O (ENOSYS): epoll must.

    python3 profile_test.py path/to/heartbeat

Needs libseccomp 2 and its Python binding: pyseccomp from PyPI, or python3-seccomp from Debian.
"""

import errno
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

try:
    import seccomp
except ImportError:
    import pyseccomp as seccomp

PROFILE = json.loads(Path(__file__).with_name("heartbeat-io-uring.json").read_text())
IO_URING = {"io_uring_setup", "io_uring_enter", "io_uring_register"}
SECONDS = 10


def action(name, errno_ret):
    if name == "SCMP_ACT_ERRNO":
        return seccomp.ERRNO(errno.EPERM if errno_ret is None else errno_ret)
    return getattr(seccomp, name.removeprefix("SCMP_ACT_"))


def argument(arg):
    operator = getattr(seccomp, arg["op"].removeprefix("SCMP_CMP_"))
    return seccomp.Arg(arg["index"], operator, arg["value"], arg.get("valueTwo", 0))


def compile_profile(profile):
    """What runc and crun make of a profile. The kernel's own architecture is in it from the start."""
    filtered = seccomp.SyscallFilter(action(profile["defaultAction"], profile.get("defaultErrnoRet")))
    for rule in profile["syscalls"]:
        for name in rule["names"]:
            try:
                filtered.add_rule(
                    action(rule["action"], rule.get("errnoRet")), name, *map(argument, rule.get("args", []))
                )
            except (ValueError, OSError, RuntimeError):
                # A call that this libseccomp or this architecture has not; the runtimes pass it over too.
                if name in IO_URING:
                    raise
    return filtered


def without_io_uring(errno_ret):
    rules = [rule for rule in PROFILE["syscalls"] if not IO_URING & set(rule["names"])]
    refusal = {"names": sorted(IO_URING), "action": "SCMP_ACT_ERRNO", "errnoRet": errno_ret}
    # The profile's own default is EPERM: leaving the calls out is the refusal.
    return {**PROFILE, "syscalls": rules if errno_ret == errno.EPERM else [*rules, refusal]}


def get(port, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=SECONDS) as answer:
        return answer.read()


def serve_under(binary, profile):
    """Starts the server under a profile, uses it, drains it. Its driver and what it wrote to standard error."""
    filtered = compile_profile(profile)
    with tempfile.TemporaryFile("w+") as told:
        server = subprocess.Popen(
            [binary, "--port", "0", "--address", "127.0.0.1", "--threads", "1", "--drain-delay", "0s"],
            stderr=told,
            preexec_fn=filtered.load,
        )
        try:
            deadline = time.monotonic() + SECONDS
            while not (port := re.search(r"address +127\.0\.0\.1:(\d+)", read(told))):
                assert server.poll() is None and time.monotonic() < deadline, f"no start: {read(told)}"
                time.sleep(0.02)
            port = port[1]
            assert get(port, "/healthz") == b"Pass\n"
            for size in (17, 1 << 20):
                body = get(port, f"/heartbeat/{size}")
                assert body == (b"0123456789ABCDEF" * (size // 16 + 1))[:size]
            upload = urllib.request.Request(f"http://127.0.0.1:{port}/heartbeat/17", b"x" * (1 << 20))
            with urllib.request.urlopen(upload, timeout=SECONDS) as answer:
                assert answer.read() == b"0123456789ABCDEF0"
            version = json.loads(get(port, "/version?format=json"))
            assert version["send"] == "splice", f"large answers are copied: {read(told)}"
            driver = version["driver"]
            server.send_signal(signal.SIGTERM)
            assert server.wait(SECONDS) == 0, f"drain: {read(told)}"
            return driver, read(told)
        finally:
            server.kill()


def read(file):
    file.seek(0)
    return file.read()


def main():
    binary = os.path.abspath(sys.argv[1])
    driver, told = serve_under(binary, PROFILE)
    assert driver == "io_uring", told
    assert "warning" not in told, told
    print("with the profile: io_uring")
    for errno_ret, words in [(errno.EPERM, "not permitted"), (errno.ENOSYS, "not implemented")]:
        driver, told = serve_under(binary, without_io_uring(errno_ret))
        assert driver == "epoll", told
        warning = told.splitlines()[0]
        assert "warning: io_uring is not used" in warning and words in warning and "seccomp" in warning, told
        print(f"without the three calls, {errno.errorcode[errno_ret]}: epoll; {warning}")


if __name__ == "__main__":
    main()
