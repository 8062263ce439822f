"""The panels of the dashboard, and what a Prometheus answers to their queries."""

import json
import math
import re
from pathlib import Path

DASHBOARD = Path(__file__).parents[2] / "manifests/monitoring/dashboard.json"


def panels():
    return json.loads(DASHBOARD.read_text())["panels"]


def expression(target, rate_s, step_s, range_s):
    """With Grafana's variables replaced: all servers are chosen, of the one job that they have here."""
    text = target["expr"].replace("$__rate_interval", f"{rate_s}s").replace("$__interval", f"{step_s}s")
    text = text.replace("$__range", f"{range_s}s").replace("$job", "heartbeat")
    return re.sub(r"\$(cluster|namespace|node|instance|server)\b", ".*", text)


def answers(fleet, panel, begin, end, step_s):
    """Of each target: its legend, and the series with their points, as (labels, [(time, value)])."""
    for target in panel.get("targets", []):
        # Four scrapes, as Grafana takes them, and at least as long as a step.
        text = expression(target, max(4, step_s), step_s, max(1, round(end - begin)))
        if target.get("instant"):
            data = fleet.ask("query", query=text, time=end)
            found = [(each["metric"], [each["value"]]) for each in data["result"]]
        else:
            data = fleet.ask("query_range", query=text, start=begin, end=end, step=step_s)
            found = [(each["metric"], each["values"]) for each in data["result"]]
        series = [(labels, [(float(at), float(value)) for at, value in points]) for labels, points in found]
        yield target, series


def has_data(series):
    return any(math.isfinite(value) for _, points in series for _, value in points)


def legend(target, labels):
    text = re.sub(r"\{\{(\w+)\}\}", lambda match: labels.get(match[1], ""), target.get("legendFormat", ""))
    return " ".join(text.split())
