#!/usr/bin/env python3
"""Runs the commands of the chart's `helm test` as the kubelet would, for an IPv4 and an IPv6 Service: the kubelet puts the address of
a Service into a variable, and the commands take it from there. A server on loopback stands for the Service.

    helm_test.py HEARTBEAT

Needs helm in the PATH.
"""

import socket
import subprocess
import sys
from pathlib import Path

import yaml

CHART = Path(__file__).parents[2] / "manifests/chart/heartbeat"


class Failed(Exception):
    """What a command says."""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def has_ipv6():
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            return False
    return True


def run_container(binary, arguments, service, is_v6, uri):
    """The arguments of one container of the test's pod."""
    loopback, port = ("[::1]" if is_v6 else "127.0.0.1"), free_port()
    options = [f"--port={port}", f"--address={loopback.strip('[]')}", f"--uri={uri}", "--threads=1", "--drain-delay=0s"]
    server = subprocess.Popen([binary, *options], stderr=subprocess.PIPE, text=True)
    try:
        while f":{port}" not in (line := server.stderr.readline()):
            if not line:
                raise Failed(f"the server for helm test did not start: {options}")
        variable = f"{service.upper().replace('-', '_')}_PORT"
        expanded = [word.replace(f"$({variable})", f"tcp://{loopback}:{port}") for word in arguments]
        result = subprocess.run([binary, *expanded], capture_output=True, text=True)
        if result.returncode:
            raise Failed(f"helm test, {' '.join(expanded)}: {result.stderr.strip()}")
    finally:
        server.kill()
        server.wait()


def errors(binary):
    families = [False, True] if has_ipv6() else [False]
    for values in [CHART / "values.yaml", *sorted(CHART.glob("ci/*-values.yaml"))]:
        command = ["helm", "template", "heartbeat", CHART, "--kube-version", "1.37.0", "--values", values]
        rendered = subprocess.run(command, capture_output=True, check=True, text=True).stdout
        uri = (yaml.safe_load(values.read_text()).get("config") or {}).get("uri", "/heartbeat/")
        for pod in [thing for thing in yaml.safe_load_all(rendered) if thing and thing["kind"] == "Pod"]:
            service = pod["metadata"]["name"].removesuffix("-test")
            for container in pod["spec"]["containers"]:
                for is_v6 in families:
                    try:
                        run_container(binary, container["args"], service, is_v6, uri)
                    except Failed as error:
                        yield f"{values.name}: {error}"


def main():
    found = list(errors(sys.argv[1]))
    for error in found:
        print(f"helm-test: {error}", file=sys.stderr)
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
