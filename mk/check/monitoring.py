#!/usr/bin/env python3
"""Checks what reads the server's metrics and logs:

- dashboard and rules use only metrics and labels of manifests/monitoring/metrics.txt;
- each panel has a description, and a bound on its lines;
- mk/prometheusrule.sh keeps the rules as they are;
- Fluent Bit's parsers turn lines of the access log into fields.

With binaries as arguments, also against what they really write: the /metrics of server and prober, and both of the
server's log formats. With --expressions, prints a rules file of the dashboard's queries for promtool.
"""

import json
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from datetime import datetime
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "manifests/monitoring"
OTHERS = {
    "up",
    "ALERTS",
    "kube_daemonset_status_desired_number_scheduled",
    "kube_daemonset_status_number_ready",
}
# From scraping and kube-state-metrics, and Prometheus' own.
OTHER_LABELS = {
    *("job", "instance", "node", "pod", "namespace", "cluster", "container", "endpoint"),
    # from_zone is made by the dashboard.
    *("daemonset", "le", "quantile", "from_zone", "__name__"),
}
LINES = [
    (
        "2026-11-22T11:36:59.445340Z\t200\t17\t4096\t9\t127.0.0.1\tPOST\t/heartbeat/17",
        '{"date":"2026-11-22T11:36:59.445340Z","status":200,"bytesOut":17,"bytesIn":4096,"durationUs":9,'
        '"remote":"127.0.0.1","verb":"POST","path":"/heartbeat/17"}',
    ),
    (
        "2026-11-22T11:37:26.605429Z\t400\t0\t0\t9\t::1\tGET\t/\\x01tab\\x09?a=\u00e9",
        '{"date":"2026-11-22T11:37:26.605429Z","status":400,"bytesOut":0,"bytesIn":0,"durationUs":9,'
        '"remote":"::1","verb":"GET","path":"/\\\\x01tab\\\\x09?a=\u00e9"}',
    ),
]


def known_metrics():
    """Name to labels."""
    lines = (MONITORING / "metrics.txt").read_text().splitlines()
    return {line.split()[0]: set(line.split()[1:]) for line in lines if line and not line.startswith("#")}


def dashboard_expressions():
    """With their titles; variables of Grafana stand for something that Prometheus can read."""
    panels = json.loads((MONITORING / "dashboard.json").read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels), "dashboard: an id twice"
    for panel in panels:
        for target in panel.get("targets", []):
            expression = target["expr"].replace("$__rate_interval", "5m").replace("$__interval", "1m")
            expression = expression.replace("$__range", "1h")
            yield panel["title"], re.sub(r"\$(cluster|namespace|job|node|instance|server)\b", ".*", expression)


# Labels of which there are as many values as servers, pods, paths or pairs of nodes.
MANY = {"instance", "node", "pod", "server", "path", "peer"}


def dashboard_errors():
    """A panel without a description, without the variables, or with as many lines as there are servers."""
    for panel in json.loads((MONITORING / "dashboard.json").read_text())["panels"]:
        title = panel["title"]
        if panel["type"] != "row" and not panel.get("description"):
            yield f"{title}: no description"
        for target in panel.get("targets", []):
            expression = target["expr"]
            for selector in re.findall(r"\w\{([^}]*)\}", expression):
                for variable in ("cluster", "namespace"):
                    if f'{variable}=~"${variable}"' not in selector:
                        yield f"{title}: {selector} leaves the variable {variable} out"
            if re.search(r"\b(?:topk|bottomk)\(", expression):
                continue
            outer = re.match(r"-?\(?(?:histogram_quantile\([\d.]+, )?(sum|count|avg|max|min)\b(?: by \(([^)]*)\))?", expression)
            if outer is None or MANY & set(re.split(r"[\s,]+", outer[2] or "")):
                yield f"{title}: as many lines as there are servers or paths: {expression}"


def override_errors():
    """An override that is meant for a series or a column which the panel does not have."""
    for panel in json.loads((MONITORING / "dashboard.json").read_text())["panels"]:
        names = {re.sub(r"\{\{\w+\}\}", "x", target.get("legendFormat", "")) for target in panel.get("targets", [])}
        for change in panel.get("transformations", []):
            names |= set(change["options"].get("renameByName", {}).values())
        for override in panel.get("fieldConfig", {}).get("overrides", []):
            kind, wanted = override["matcher"]["id"], override["matcher"]["options"]
            pattern = wanted if kind == "byRegexp" else re.escape(wanted)
            if not any(re.fullmatch(pattern, name) for name in names):
                yield f"{panel['title']}: an override for {wanted}, and the panel has {sorted(names)}"


def rule_expressions():
    for group in yaml.safe_load((MONITORING / "heartbeat.rules.yaml").read_text())["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule["expr"]


def base_name(name):
    """Without the end of a series of a histogram or a summary."""
    return re.sub(r"^(WebV\w+|\w+_seconds|\w+_bytes)_(bucket|sum|count)$", r"\1", name)


def expression_errors(known):
    for title, expression in [*dashboard_expressions(), *rule_expressions()]:
        bare = re.sub(r'"[^"]*"', '""', expression)
        for name in re.findall(r"\b(?:heartbeat|process|kube|WebV)\w*|\bup\b", bare):
            if base_name(name) not in known and name not in OTHERS:
                yield f"{title}: no metric is called {name}"
        for name, matchers in re.findall(r"(\w+)\{([^}]*)\}", bare):
            for label in re.findall(r"(\w+)\s*[=!]", matchers):
                if label not in known.get(base_name(name), set()) | OTHER_LABELS:
                    yield f"{title}: {name} has no label {label}"
        labels = set().union(*known.values()) | OTHER_LABELS
        for names in re.findall(r"\b(?:by|on|without|ignoring)\s*\(([^)]*)\)", bare):
            for label in re.split(r"[\s,]+", names.strip()):
                if label not in labels:
                    yield f"{title}: no metric has a label {label}"


def prometheusrule_errors():
    script = subprocess.run(["sh", ROOT / "mk/prometheusrule.sh"], stdout=subprocess.PIPE, check=True, text=True)
    written = script.stdout
    rules = yaml.safe_load((MONITORING / "heartbeat.rules.yaml").read_text())
    if yaml.safe_load(written)["spec"] != rules:
        yield "mk/prometheusrule.sh does not keep the rules as they are"


def parsers():
    """Name to settings, of the sections of a classic configuration file of Fluent Bit."""
    sections = (MONITORING / "fluent-bit/parsers.conf").read_text().split("[PARSER]")[1:]
    lines = [[line.split(maxsplit=1) for line in section.splitlines()] for section in sections]
    found = [{words[0]: words[1] for words in section if len(words) == 2 and words[0] != "#"} for section in lines]
    return {parser["Name"]: parser for parser in found}


def parse_tsv(parser, line):
    """As Fluent Bit does; its engine, Onigmo, writes named groups without Python's P."""
    match = re.search(parser["Regex"].replace("(?<", "(?P<"), line)
    types = dict(pair.split(":") for pair in parser["Types"].split())
    fields = match.groupdict() if match else {}
    return {key: int(text) if types.get(key) == "integer" else text for key, text in fields.items()}


def log_errors(lines):
    found = parsers()
    for tsv, json_line in lines:
        fields, same = parse_tsv(found["heartbeat_tsv"], tsv), json.loads(json_line)
        if list(fields) != list(same):
            yield f"heartbeat_tsv does not take {tsv!r}"
            continue
        variable = {"date", "durationUs"} if tsv not in dict(LINES) else set()
        if any(fields[key] != same[key] for key in fields.keys() - variable):
            yield f"heartbeat_tsv reads {fields}, heartbeat_json {same}"
    for parser in found.values():
        # Fluent Bit's %L is a fraction without its dot, its %z takes a Z too.
        layout = parser["Time_Format"].replace("%L", "%f")
        datetime.strptime(LINES[0][0].split("\t")[0], layout)
        if parser["Time_Key"] != "date":
            yield f"{parser['Name']}: the time is not its date"


def ask(binary, log_format):
    """The lines that a server logs for a few requests, and its /metrics."""
    # With one worker the lines come in the order of the requests.
    options = ["--port=0", "--address=127.0.0.1", "--threads=1", "--log", f"--log-format={log_format}", "--drain-delay=0s"]
    server = subprocess.Popen(
        [binary, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        while not (port := re.search(r"127\.0\.0\.1:(\d+)", server.stderr.readline())):
            assert server.poll() is None, "the server did not start"
        url = f"http://127.0.0.1:{port[1]}"
        for path, body in [("/heartbeat/17", None), ("/heartbeat/4096", b"x" * 99), ("/nothing/%20?q=1", None)]:
            try:
                urllib.request.urlopen(url + path, body, timeout=5).read()
            except urllib.error.HTTPError:
                pass
        metrics = urllib.request.urlopen(url + "/metrics", timeout=5).read().decode()
        time.sleep(1.5)
        server.terminate()
        return server.communicate(timeout=10)[0].splitlines()[:3], metrics
    finally:
        server.kill()


def names_and_labels(metrics):
    seen = {}
    for name, labels in re.findall(r"^(\w+)(?:\{(.*)\})? ", metrics, re.MULTILINE):
        seen.setdefault(base_name(name), set()).update(set(re.findall(r'(\w+)="', labels)) - {"le"})
    return seen


def metrics_errors(program, metrics, known):
    for name, labels in names_and_labels(metrics).items():
        # Of the process, each tells as much as its library knows.
        if known.get(name) != labels and not (name.startswith("process_") and program == "prober"):
            yield f"metrics.txt: the {program} has {name} with {labels or 'no labels'}"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def prober_errors(binary, known):
    """What a prober says after asking its own pages: they answer without a size, which is enough here."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "version.json")
        file.write_text('{"requests": [{"path": "/version"}]}')
        options = ["--run-loop", "--port", str(port), "--sleep", "20", "--log-format", "None", "--files", file]
        prober = subprocess.Popen([binary, *options, "--server", f"http://127.0.0.1:{port}"])
        try:
            metrics, patience = "", time.monotonic() + 10
            while "WebVSummary_count" not in metrics and time.monotonic() < patience:
                time.sleep(0.2)
                try:
                    metrics = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5).read().decode()
                except OSError:
                    continue
        finally:
            prober.kill()
    yield from metrics_errors("prober", metrics, known)
    own = {name for name in known if name.startswith(("WebV", "heartbeat_probe_"))}
    for name in own - names_and_labels(metrics).keys():
        yield f"metrics.txt: the prober has no {name}"


def server_errors(binary, known):
    (tsv, metrics), (json_lines, _) = ask(binary, "tsv"), ask(binary, "json")
    assert len(tsv) == len(json_lines) == 3, (tsv, json_lines)
    yield from log_errors(zip(tsv, json_lines))
    yield from metrics_errors("server", metrics, known)


def main():
    if sys.argv[1:] == ["--expressions"]:
        expressions = enumerate(dashboard_expressions())
        rules = [{"record": f"dashboard:{number}", "expr": expression} for number, (_, expression) in expressions]
        print(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
        return
    known = known_metrics()
    errors = [*expression_errors(known), *dashboard_errors(), *override_errors(), *prometheusrule_errors(), *log_errors(LINES)]
    for binary in sys.argv[1:]:
        is_prober = Path(binary).name == "heartbeat-probe"
        errors += prober_errors(binary, known) if is_prober else server_errors(binary, known)
    for error in errors:
        print(f"monitoring: {error}", file=sys.stderr)
    sys.exit(bool(errors))


if __name__ == "__main__":
    main()
