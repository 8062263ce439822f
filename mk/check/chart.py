#!/usr/bin/env python3
"""Checks the chart beyond what it renders:

- wrong values are refused, each with a word about the value, and so is a file of the chart that is empty;
- `config` has the options of the command line, with the same defaults, and each reaches the server as its variable;
- ports, tolerations and the like are the same wherever they have to be;
- the chart works as a dependency, has a description for each value, and changes alerts as its values say;
- one version everywhere: Cargo.toml, Chart.yaml, manifests, samples.

Needs helm in the PATH.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "manifests/chart/heartbeat"
# The chart's own choice, explained in values.yaml; null there leaves the choice to the server.
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
    ("config.uri=/a/../b", "uri"),
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
    ("config.adminPort=0", "adminPort"),
    ("config.adminPort=8080", "adminPort"),
    ("config.adminAddress=::1", "adminPort"),
    ("config.tcpMetrics=some", "tcpMetrics"),
    ("config.aliases=some", "aliases"),
    ("terminationGracePeriodSeconds=20", "terminationGracePeriodSeconds"),
    ("image.digest=sha256:abc", "digest"),
    ("image.pullPolicy=Sometimes", "pullPolicy"),
    ("service.type=ExternalName", "type"),
    ("service.nodePort=http", "nodePort"),
    ("service.nodePort=31080", "nodePort"),
    ("service.externalTrafficPolicy=Local", "externalTrafficPolicy"),
    ("service.type=NodePort,service.clusterIP=None", "clusterIP"),
    ("service.clusterIP=first", "clusterIP"),
    ("service.clusterIP=None,service.externalIPs={203.0.113.7}", "externalIPs"),
    ("service.type=NodePort,service.loadBalancerClass=a/b", "loadBalancerClass"),
    ("service.loadBalancerSourceRanges={203.0.113.0/24}", "loadBalancerSourceRanges"),
    ("service.type=LoadBalancer,service.loadBalancerSourceRanges={203.0.113.0}", "loadBalancerSourceRanges"),
    ("service.trafficDistribution=Near", "trafficDistribution"),
    ("service.ipFamilyPolicy=SingleStack,service.ipFamilies={IPv4,IPv6}", "ipFamilyPolicy"),
    ("service.ipFamilies={IPv5}", "ipFamilies"),
    ("hostPort=0", "hostPort"),
    ("hostNetwork=true,hostPort=80", "hostPort"),
    ("fullnameOverride=Heart_Beat", "fullnameOverride"),
    ("fullnameOverride=1heartbeat", "fullnameOverride"),
    ("namespaceOverride=a.b", "namespaceOverride"),
    ("commonLabels.team=a b", "commonLabels"),
    (r"commonLabels.app\.kubernetes\.io/name=x", "commonLabels"),
    (r"podLabels.app\.kubernetes\.io/instance=x", "podLabels"),
    ("podLabels.-a=x", "podLabels"),
    ("updateStrategy.type=OnDelete", "updateStrategy"),
    ("kind=DaemonSet,updateStrategy.type=Recreate", "updateStrategy"),
    ("updateStrategy.type=Recreate,updateStrategy.rollingUpdate.maxSurge=1", "rollingUpdate"),
    ("topologySpreadConstraints[0].maxSkew=1", "topologyKey"),
    ("resources.limits.memory=much", "memory"),
    ("priorityClassName=High_One", "priorityClassName"),
    ("ingress.hosts={a_b.example.com}", "hosts"),
    ("ingress.hosts={192.0.2.7}", "hosts"),
    ("ingress.pathType=Regex", "pathType"),
    ("ingress.tls[0].secret=a", "tls"),
    ("image.repository=a b", "repository"),
    ("image.tag=a:b", "tag"),
    ("global.imageRegistry=https://a", "imageRegistry"),
    ("seccomp.type=Default", "seccomp"),
    ("seccomp.type=Localhost,seccomp.localhostProfile=/etc/profile.json", "localhostProfile"),
    ("seccomp.createProfile=true,seccomp.localhostProfile=a.json", "localhostProfile"),
    ("podSecurityContext.seccompProfile.type=Unconfined", "podSecurityContext"),
    ("livenessProbe.path=/x", "livenessProbe"),
    ("podDisruptionBudget.maxUnavailable=half", "maxUnavailable"),
    ("podDisruptionBudget.maxUnavailable=0", "maxUnavailable"),
    ("podDisruptionBudget.maxUnavailable=0%", "maxUnavailable"),
    ("httpRoute.enabled=true", "parentRefs"),
    ("httpRoute.enabled=true,httpRoute.parentRefs[0].namespace=a", "parentRefs"),
    ("httpRoute.hostnames={a_b}", "hostnames"),
    ("httpRoute.timeouts.request=5", "timeouts"),
    ("metrics.podMonitor.interval=fast", "interval"),
    ("metrics.podMonitor.scrapeTimeout=31s", "scrapeTimeout"),
    ("metrics.prometheusRule.alerts.HeartbeatSlow.limit=1", "alerts"),
    ("metrics.prometheusRule.enabled=true,metrics.prometheusRule.alerts.HeartbeatSlo.enabled=false", "HeartbeatSlo"),
    ("metrics.prometheusRule.enabled=true,metrics.prometheusRule.alerts.HeartbeatDown.threshold=1", "HeartbeatDown"),
    ("metrics.prometheusRule.alertLabels.severity=page", "alertLabels"),
    ("metrics.prometheusRule.runbookUrl=runbooks", "runbookUrl"),
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
    ("probe.schedule=TZ=Etc/UTC * * * *", "schedule"),
    ("probe.timeZone=Local", "timeZone"),
    ("probe.startingDeadlineSeconds=-1", "startingDeadlineSeconds"),
    ("probe.sleep=1s", "sleep"),
    ("probe.rate=0", "rate"),
    ("probe.rate=1,probe.sleep=1", "rate"),
    ("probe.hostAliases[0].ip=a", "hostAliases"),
    ("probe.activeDeadlineSeconds=0", "activeDeadlineSeconds"),
    ("probe.extraArgs=--sleep", "extraArgs"),
    ("probe.image.digest=sha256:abc", "digest"),
    ("probe.resources.cpu=1", "resources"),
    ("probe.server=https://a", "server"),
    ("mesh.enabled=true", "DaemonSet"),
    ("kind=DaemonSet,mesh.enabled=true,mesh.port=8080", "mesh.port"),
    ("kind=DaemonSet,mesh.enabled=true,hostNetwork=true,dnsPolicy=Default", "dnsPolicy"),
    ("mesh.neighbors=0", "neighbors"),
    ("mesh.interval=5", "interval"),
    ("mesh.sizes={1T}", "sizes"),
    ("load.enabled=1", "enabled"),
    ("load.pods=0", "pods"),
    ("load.pods=1001", "pods"),
    ("load.urls={store-1.example.com/heartbeat/17}", "urls"),
    ("load.urls={https://store-1.example.com}", "urls"),
    ("load.rate=0", "rate"),
    ("load.connections=0", "connections"),
    ("load.warmUp=5", "warmUp"),
    ("load.duration=0s", "duration"),
    ("load.startAt=soon", "startAt"),
    ("load.activeDeadlineSeconds=0", "activeDeadlineSeconds"),
    ("load.start=1", "start"),
]


def helm(*arguments, chart=CHART):
    command = ["helm", "template", "heartbeat", chart, "--kube-version", "1.37.0", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def refusal_errors():
    for values, word in WRONG:
        result = helm("--set", values)
        message = "\n".join(line for line in result.stderr.splitlines() if not line.startswith("walk.go"))
        if result.returncode == 0:
            yield f"--set {values} is taken"
        elif word not in message:
            yield f"--set {values} is refused without a word about {word}: {message}"


def missing_file_errors():
    """An archiver that left files out must not end in objects that are accepted and do nothing."""
    values = "metrics.dashboard.enabled=true,metrics.prometheusRule.enabled=true"
    values += ",seccomp.type=Localhost,seccomp.createProfile=true,probe.enabled=true"
    templates = {
        "dashboard.json": "dashboard",
        "heartbeat.rules.yaml": "prometheusrule",
        "heartbeat-io-uring.json": "seccompprofile",
        "heartbeat-load.json": "probe",
    }
    for name, template in templates.items():
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder, "heartbeat")
            shutil.copytree(CHART, copy)
            Path(copy, "files", name).write_text("")
            result = helm("--set", values, "--show-only", f"templates/{template}.yaml", chart=copy)
        if result.returncode == 0 or name not in result.stderr:
            yield f"an empty files/{name} is not refused by name: {result.stderr or 'it renders'}"


def options():
    """Name and default of every option, from the table that the program makes --help of."""
    source = (ROOT / "crates/heartbeat/src/args.rs").read_text()
    found = dict(re.findall(r'^    \("\w?", "?([a-z-]+|LOG)"?, "[A-Za-z|]+", "([^"]*)",', source, re.MULTILINE))
    found["log"] = found.pop("LOG", found.get("log"))
    assert len(found) >= 16, f"the table of options in args.rs looks different now: {found}"
    return found


def option_errors():
    config = yaml.safe_load((CHART / "values.yaml").read_text())["config"]
    expected = {re.sub(r"-(\w)", lambda match: match[1].upper(), name): default for name, default in options().items()}
    for missing in expected.keys() ^ config.keys():
        yield f"config.{missing} and the options of the program: only one of them has it"
    for name in expected.keys() & config.keys() - OTHER_DEFAULTS:
        value = str(config[name]).lower() if isinstance(config[name], bool) else str(config[name])
        if config[name] is not None and value != expected[name]:
            yield f"config.{name} is {value!r}, the program's default {expected[name]!r}"
    values = "config.address=::1,config.maxConnections=7,config.idleTimeout=5m,config.adminPort=9,config.adminAddress=::1"
    values += ",config.tcpMetrics=off,config.logTcp=true,config.responsiveness=true,config.aliases=true"
    rendered = helm("--set", values).stdout
    for name in [re.sub("([A-Z])", r"-\1", key).lower() for key in config]:
        variable = "HB_" + name.replace("-", "_").upper()
        if f"- name: {variable}\n" not in rendered:
            yield f"{variable} does not reach the pod"


def dependency_errors():
    """As a dependency that `condition: heartbeat.enabled` switches on and off."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(CHART, Path(folder, "charts/heartbeat"))
        version = yaml.safe_load((CHART / "Chart.yaml").read_text())["version"]
        dependency = {"name": "heartbeat", "version": version, "condition": "heartbeat.enabled"}
        chart = {"apiVersion": "v2", "name": "parent", "version": "1.0.0", "dependencies": [dependency]}
        Path(folder, "Chart.yaml").write_text(yaml.safe_dump(chart))
        for enabled in ("true", "false"):
            result = helm("--set", f"heartbeat.enabled={enabled},global.other=1", chart=folder)
            if result.returncode or ("kind: Deployment" in result.stdout) != (enabled == "true"):
                yield f"as a dependency with enabled={enabled}: {result.stderr or 'other objects than expected'}"


def description_errors():
    """helm-docs writes a value without a description as an empty cell."""
    for line in (CHART / "README.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) == 6 and not cells[4]:
            yield f"values.yaml: {cells[1]} has no description"


def alert_errors():
    """What the values say of alerts reaches the rules, and the memory limit does."""
    alerts = "metrics.prometheusRule.alerts"
    values = f"metrics.prometheusRule.enabled=true,resources.limits.memory=64Mi,{alerts}.HeartbeatOnEpoll.enabled=false"
    values += f",{alerts}.HeartbeatSlow.threshold=0.05,{alerts}.HeartbeatSlow.severity=page,{alerts}.HeartbeatSlow.for=1h"
    values += ",metrics.prometheusRule.runbookUrl=https://a/,metrics.prometheusRule.alertLabels.team=x"
    show = ("--show-only", "templates/prometheusrule.yaml")
    spec = yaml.safe_load(helm("--set", values, *show).stdout)["spec"]
    rules = {rule["alert"]: rule for group in spec["groups"] for rule in group["rules"]}
    slow = rules["HeartbeatSlow"]
    if not slow["expr"].endswith("> 0.05") or slow["labels"] != {"severity": "page", "team": "x"} or slow["for"] != "1h":
        yield f"HeartbeatSlow is not as its values say: {slow}"
    if slow["annotations"]["runbook_url"] != "https://a/HeartbeatSlow":
        yield f"HeartbeatSlow has another runbook: {slow['annotations']}"
    if "HeartbeatOnEpoll" in rules:
        yield "HeartbeatOnEpoll is switched off, and there"
    if not rules["HeartbeatMemory"]["expr"].endswith(f"> {56 * 1024 * 1024}"):
        yield f"HeartbeatMemory does not follow the limit: {rules['HeartbeatMemory']['expr']}"
    unlimited = helm("--set", "metrics.prometheusRule.enabled=true,resources.limits=null", *show).stdout
    if "HeartbeatMemory" in unlimited or "HeartbeatDown" not in unlimited:
        yield "HeartbeatMemory is there without a limit"
    plain = yaml.safe_load(helm("--set", "metrics.prometheusRule.enabled=true", *show).stdout)["spec"]
    source = yaml.safe_load((ROOT / "manifests/monitoring/heartbeat.rules.yaml").read_text())
    for ours, theirs in zip(source["groups"], plain["groups"], strict=True):
        for rule, rendered in zip(ours["rules"], theirs["rules"], strict=True):
            if rule["alert"] != "HeartbeatMemory" and rendered != rule:
                yield f"{rule['alert']} is not as in manifests/monitoring: {rendered}"


def objects(*arguments):
    """What the chart renders, by kind."""
    things = [thing for thing in yaml.safe_load_all(helm(*arguments).stdout) if thing]
    return {thing["kind"]: thing for thing in things}


def follow_errors():
    """Values that more than one object has to follow."""
    values = "config.adminPort=9090,networkPolicy.enabled=true,kind=DaemonSet,metrics."
    for monitor, endpoints, port in [
        ("podMonitor", "podMetricsEndpoints", "port"),
        ("serviceMonitor", "endpoints", "targetPort"),
    ]:
        things = objects("--set", f"{values}{monitor}.enabled=true")
        pod = things["DaemonSet"]["spec"]["template"]
        container = pod["spec"]["containers"][0]
        asked = {container[probe]["httpGet"]["port"] for probe in ("readinessProbe", "livenessProbe")}
        scraped = {end[port] for end in things[monitor[0].upper() + monitor[1:]]["spec"][endpoints]}
        opened = {port["port"] for rule in things["NetworkPolicy"]["spec"]["ingress"] for port in rule["ports"]}
        annotated = pod["metadata"]["annotations"]["prometheus.io/port"]
        if (asked, scraped, opened, annotated) != ({"admin"}, {"admin"}, {"http", "admin"}, "9090"):
            yield f"with an admin port, {monitor}: {asked}, {scraped}, {opened}, {annotated} are asked"
    things = objects("--set", "config.adminPort=9090,config.adminAddress=::1")
    if things["Deployment"]["spec"]["template"]["spec"]["containers"][0]["livenessProbe"]["httpGet"]["port"] != "http":
        yield "the kubelet asks an admin port that it may not reach"
    for kind, expected in [("DaemonSet", [{"operator": "Exists"}]), ("Deployment", None)]:
        tolerations = objects("--set", f"kind={kind}")[kind]["spec"]["template"]["spec"].get("tolerations")
        if tolerations != expected:
            yield f"a {kind} tolerates {tolerations}"
    for wanted, version, expected in [
        ("PreferSameZone", "1.30.0", None),
        ("PreferSameZone", "1.33.0", "PreferClose"),
        ("PreferClose", "1.34.0", "PreferSameZone"),
        ("PreferSameNode", "1.34.0", "PreferSameNode"),
        ("", "1.37.0", None),
    ]:
        things = objects("--set", f"service.trafficDistribution={wanted}", "--kube-version", version)
        written = things["Service"]["spec"].get("trafficDistribution")
        if written != expected:
            yield f"trafficDistribution {wanted!r} for Kubernetes {version} is written as {written}"
    path = objects("--set", "ingress.enabled=true,config.uri=/a:")["Ingress"]["spec"]["rules"][0]["http"]["paths"][0]
    if path["path"] != "/a:":
        yield f"a path that ends in a colon: {path}"
    if "replicas" in objects("--set", "replicaCount=null")["Deployment"]["spec"]:
        yield "replicaCount null does not leave the number to an autoscaler"


def load_errors():
    """A Job cannot be changed, so that other values of the load make another Job, and everything else keeps it."""

    def job(values, *arguments):
        return objects("--set", f"load.enabled=true,{values}", *arguments).get("Job")

    first = job("load.pods=2")
    if first["spec"]["completions"] != 2 or first["spec"]["parallelism"] != 2:
        yield f"load.pods=2 makes {first['spec']}"
    start = first["spec"]["template"]["spec"]["containers"][0]["env"][0]["valueFrom"]["configMapKeyRef"]["name"]
    if start != first["metadata"]["name"] + "-start":
        yield f"the load's pods wait for {start}, its notes name another ConfigMap"
    for values in ("load.pods=3", "load.pods=2,load.rate=7", "load.pods=2,probe.image.tag=edge"):
        other = job(values)
        if other["metadata"]["name"] == first["metadata"]["name"] or other["spec"] == first["spec"]:
            yield f"{values} changes the Job {first['metadata']['name']} instead of making another one"
    if job("load.pods=2,config.max=2M,image.tag=edge") != first:
        yield "an upgrade of the server alone changes the load's Job"
    at = job("load.startAt=1893456000")["spec"]["template"]["spec"]["containers"][0]["env"][0]
    if at != {"name": "START_AT", "value": "1893456000"}:
        yield f"load.startAt reaches the pods as {at}"
    longest = job("load.warmUp=1m,load.duration=1h")["spec"]["activeDeadlineSeconds"]
    if longest != 3600 + 60 + 660:
        yield f"a load of an hour has {longest} s"
    refusal = helm("--set", "load.enabled=true", "--kube-version", "1.28.0")
    if refusal.returncode == 0 or "1.29" not in refusal.stderr:
        yield f"load.enabled on Kubernetes 1.28: {refusal.stderr or 'is taken'}"
    long = "a" * 60
    name = job(f"fullnameOverride={long}")["metadata"]["name"]
    # Pods are called by it and their index, and the ConfigMap by it and -start.
    if len(name) > 57:
        yield f"the Job's name has {len(name)} characters"


def pin_errors():
    """A published chart names its images by their digests, unless the values name others."""
    digests = {f"ghcr.io/bartr/{name}": f"sha256:{digit * 64}" for name, digit in [("heartbeat", "1"), ("heartbeat-probe", "2")]}
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "heartbeat")
        shutil.copytree(CHART, copy)
        version = yaml.safe_load((copy / "Chart.yaml").read_text())["appVersion"]
        images = [f"{name}@{digest}" for name, digest in digests.items()]
        # Twice: a workflow may be run again.
        for _ in range(2):
            subprocess.run(["sh", ROOT / "mk/pin-chart.sh", copy, *images], check=True)
        for values, expected in [
            ("", [f"{name}:{version}@{digest}" for name, digest in digests.items()]),
            ("image.tag=edge,probe.image.tag=edge", [f"{name}:edge" for name in digests]),
            ("image.repository=a/heartbeat,probe.image.repository=a/b", [f"a/heartbeat:{version}", f"a/b:{version}"]),
            ("global.imageRegistry=a.example.com", [f"a.example.com/bartr/{name}:{version}" for name in ("heartbeat", "heartbeat-probe")]),
        ]:
            rendered = helm("--set", f"probe.enabled=true,{values}", "--skip-tests", chart=copy).stdout
            named = sorted(set(re.findall(r"^ +image: (\S+)", rendered, re.MULTILINE)))
            if named != sorted(expected):
                yield f"a published chart with {values or 'the defaults'} names {named}"
        for wrong in (f"{images[0]}0", "ghcr.io/bartr/other@sha256:" + "1" * 64):
            if subprocess.run(["sh", ROOT / "mk/pin-chart.sh", copy, wrong], capture_output=True).returncode == 0:
                yield f"mk/pin-chart.sh takes {wrong}"


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
        ("manifests/components/mesh/container.yaml", r"image: ghcr.io/bartr/heartbeat-probe:(\S+)", version),
        ("manifests/components/probe-cron/cronjob.yaml", r"image: ghcr.io/bartr/heartbeat-probe:(\S+)", version),
        ("manifests/overlays/load-job/job.yaml", r"image: ghcr.io/bartr/heartbeat-probe:(\S+)", version),
        ("manifests/overlays/README.md", r"ref=v(\S+)", version),
        ("manifests/seccomp/README.md", r"ghcr.io/bartr/heartbeat:(\S+)", version),
        ("manifests/chart/heartbeat/Chart.yaml", r"image: ghcr.io/bartr/heartbeat(?:-probe)?:(\S+)", version),
        ("SECURITY.md", r"ghcr.io/bartr/heartbeat:(\S+)", version),
        ("manifests/gitops/flux/ocirepository.yaml", r"semver: ~(\S+)", minor + ".0"),
        ("manifests/gitops/argocd/applicationset.yaml", r"targetRevision: ~(\S+)", minor + ".0"),
    ]:
        named += [(path, found, expected) for found in re.findall(pattern, (ROOT / path).read_text()) or ["none"]]
    yield from (f"{place}: {found}, not {expected}" for place, found, expected in named if found != expected)


def main():
    errors = [*refusal_errors(), *missing_file_errors(), *option_errors(), *dependency_errors()]
    errors += [*description_errors(), *alert_errors(), *follow_errors(), *load_errors(), *pin_errors()]
    errors += version_errors()
    for error in errors:
        print(f"chart: {error}", file=sys.stderr)
    sys.exit(bool(errors))


if __name__ == "__main__":
    main()
