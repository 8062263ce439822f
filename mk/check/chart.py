#!/usr/bin/env python3
"""Checks the chart beyond what it renders:

- wrong values are refused, each with a word about the value;
- `config` has the options of the command line, with the same defaults, and each reaches the server as its variable;
- one version everywhere: Cargo.toml, Chart.yaml, manifests, samples.

Needs helm in the PATH.
"""

import re
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "manifests/chart/heartbeat"
# The chart's own choice, explained in values.yaml.
OTHER_DEFAULTS = {"threads"}
# Value, and what the refusal has to name.
WRONG = [
    ("kind=StatefulSet", "kind"),
    ("replicas=3", "replicas"),
    ("replicaCount=-1", "replicaCount"),
    ("config.port=0", "port"),
    ("config.port=http", "port"),
    ("config.uri=/", "uri"),
    ("config.uri=heartbeat", "uri"),
    ("config.uri=//x", "uri"),
    ("config.min=0", "min"),
    ("config.max=2T", "max"),
    ("config.max=1073741825", "max"),
    ("config.log=loud", "log"),
    ("config.logFormat=xml", "logFormat"),
    ("config.threads=0", "threads"),
    ("config.threads=2000", "threads"),
    ("config.io=iouring", "io"),
    ("config.send=sendfile", "send"),
    ("config.maxConnections=0", "maxConnections"),
    ("config.headerTimeout=10", "headerTimeout"),
    ("config.idleTimeout=0s", "idleTimeout"),
    ("config.stallTimeout=1d", "stallTimeout"),
    ("config.drainDelay=-1s", "drainDelay"),
    ("config.drainTimeout=soon", "drainTimeout"),
    ("config.maxConnection=5", "maxConnection"),
    ("terminationGracePeriodSeconds=20", "terminationGracePeriodSeconds"),
    ("image.digest=sha256:abc", "digest"),
    ("image.pullPolicy=Sometimes", "pullPolicy"),
    ("service.type=ExternalName", "type"),
    ("service.nodePort=http", "nodePort"),
    ("service.ipFamilies={IPv5}", "ipFamilies"),
    ("hostPort=0", "hostPort"),
    ("seccomp.type=Default", "seccomp"),
    ("seccomp.type=Localhost,seccomp.localhostProfile=/etc/profile.json", "localhostProfile"),
    ("seccomp.createProfile=true,seccomp.localhostProfile=a.json", "localhostProfile"),
    ("podSecurityContext.seccompProfile.type=Unconfined", "podSecurityContext"),
    ("livenessProbe.path=/x", "livenessProbe"),
    ("podDisruptionBudget.maxUnavailable=half", "maxUnavailable"),
    ("httpRoute.enabled=true", "parentRefs"),
    ("metrics.podMonitor.interval=fast", "interval"),
    ("metrics.podMonitor.enabled=true,metrics.serviceMonitor.enabled=true", "podMonitor"),
    ("tolerations.key=x", "tolerations"),
    ("probe.enabled=maybe", "enabled"),
    ("probe.mode=once", "mode"),
    ("probe.servers={store-1.example.com}", "servers"),
    ("probe.servers={https://a/path}", "servers"),
    ("probe.servers=https://a", "servers"),
    ("probe.files={../secret}", "files"),
    ("probe.enabled=true,probe.files={missing.json}", "missing.json"),
    ("probe.testFiles.a=1", "testFiles"),
    ("probe.schedule=often", "schedule"),
    ("probe.schedule=* * * *", "schedule"),
    ("probe.activeDeadlineSeconds=0", "activeDeadlineSeconds"),
    ("probe.extraArgs=--sleep", "extraArgs"),
    ("probe.image.digest=sha256:abc", "digest"),
    ("probe.resources.cpu=1", "resources"),
    ("probe.server=https://a", "server"),
]


def helm(*arguments):
    command = ["helm", "template", "heartbeat", CHART, "--kube-version", "1.37.0", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def refusal_errors():
    for values, word in WRONG:
        result = helm("--set", values)
        message = "\n".join(line for line in result.stderr.splitlines() if not line.startswith("walk.go"))
        if result.returncode == 0:
            yield f"--set {values} is taken"
        elif word not in message:
            yield f"--set {values} is refused without a word about {word}: {message}"


def options():
    """Name and default of every option, from the table that the program makes --help of."""
    source = (ROOT / "crates/heartbeat/src/args.rs").read_text()
    found = dict(re.findall(r'^    \("\w?", "?([a-z-]+|LOG)"?, "[A-Z]+", "([^"]*)",', source, re.MULTILINE))
    found["log"] = found.pop("LOG", found.get("log"))
    assert len(found) >= 16, f"the table of options in args.rs looks different now: {found}"
    return found


def option_errors():
    config = yaml.safe_load((CHART / "values.yaml").read_text())["config"]
    expected = {re.sub(r"-(\w)", lambda match: match[1].upper(), name): default for name, default in options().items()}
    for missing in expected.keys() ^ config.keys():
        yield f"config.{missing} and the options of the program: only one of them has it"
    for name in expected.keys() & config.keys() - OTHER_DEFAULTS:
        value = "" if config[name] is None else str(config[name]).lower() if name == "log" else str(config[name])
        if value != expected[name]:
            yield f"config.{name} is {value!r}, the program's default {expected[name]!r}"
    rendered = helm("--set", "config.address=::1,config.maxConnections=7").stdout
    for name in options():
        variable = "HB_" + name.replace("-", "_").upper()
        if f"- name: {variable}\n" not in rendered:
            yield f"{variable} does not reach the pod"


def version_errors():
    version = re.search(r'^version = "(.+)"', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)[1]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    minor = version.rsplit(".", 1)[0]
    named = [
        ("Chart.yaml version", chart["version"], version),
        ("Chart.yaml appVersion", chart["appVersion"], version),
    ]
    for path, pattern, expected in [
        ("manifests/base/deployment.yaml", r"image: ghcr.io/bartr/heartbeat:(\S+)", version),
        ("manifests/components/probe/deployment.yaml", r"image: ghcr.io/bartr/heartbeat-probe:(\S+)", version),
        ("manifests/components/probe-cron/cronjob.yaml", r"image: ghcr.io/bartr/heartbeat-probe:(\S+)", version),
        ("manifests/seccomp/README.md", r"ghcr.io/bartr/heartbeat:(\S+)", version),
        ("SECURITY.md", r"ghcr.io/bartr/heartbeat:(\S+)", version),
        ("manifests/gitops/flux/ocirepository.yaml", r"semver: ~(\S+)", minor + ".0"),
        ("manifests/gitops/argocd/applicationset.yaml", r"targetRevision: ~(\S+)", minor + ".0"),
    ]:
        named += [(path, found, expected) for found in re.findall(pattern, (ROOT / path).read_text()) or ["none"]]
    yield from (f"{place}: {found}, not {expected}" for place, found, expected in named if found != expected)


def main():
    errors = [*refusal_errors(), *option_errors(), *version_errors()]
    for error in errors:
        print(error, file=sys.stderr)
    sys.exit(bool(errors))


if __name__ == "__main__":
    main()
