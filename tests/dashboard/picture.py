"""Draws the dashboard from the data of a Prometheus, in the dashboard's own layout: an SVG for each of its rows. Grafana is
not needed; what it would show is the same data."""

import math
import re
import time
from html import escape

from panels import answers, legend, panels
from units import linear_ticks, log_ticks, written

COLUMN, UNIT, GAP = 50, 36, 8
BACK, PANEL, LINE, TEXT, DIM = "#111217", "#181b1f", "#2c3235", "#d8d9da", "#9a9ba1"
COLOURS = ["#73bf69", "#f2cc0c", "#5794f2", "#ff9830", "#f2495c", "#b877d9", "#8ab8ff", "#c0d8ff", "#96d98d", "#ffa6b0"]
NAMED = {"green": "#73bf69", "orange": "#ff9830", "red": "#f2495c"}
# From low to high.
VIRIDIS = [(68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37)]
BLYLRD = [(87, 148, 242), (242, 204, 12), (242, 73, 92)]


def shade(scale, share):
    place = max(0.0, min(1.0, share)) * (len(scale) - 1)
    low = min(int(place), len(scale) - 2)
    mixed = [round(a + (b - a) * (place - low)) for a, b in zip(scale[low], scale[low + 1])]
    return "#" + "".join(f"{each:02x}" for each in mixed)


def text(x, y, words, size=11, colour=TEXT, anchor="start", weight=400):
    style = f'font-size="{size}" fill="{colour}" text-anchor="{anchor}" font-weight="{weight}"'
    return f'<text x="{x:.0f}" y="{y:.0f}" {style}>{escape(words)}</text>'


def cut(words, width, size=11):
    """About as much as fits."""
    most = max(4, int(width / (size * 0.56)))
    return words if len(words) <= most else words[: most - 1] + "…"


def shown_words(field, name, series_unit):
    """Unit and axis of a series: those of the panel, unless an override names the series."""
    unit, right, steps = series_unit, False, field.get("defaults", {}).get("thresholds", {}).get("steps", [])
    for override in field.get("overrides", []):
        matcher = override["matcher"]
        exact = matcher["id"] == "byName" and matcher["options"] == name
        if not exact and not (matcher["id"] == "byRegexp" and re.fullmatch(matcher["options"].strip("/"), name)):
            continue
        for each in override["properties"]:
            if each["id"] == "unit":
                unit = each["value"]
            elif each["id"] == "custom.axisPlacement":
                right = each["value"] == "right"
            elif each["id"] == "thresholds":
                steps = each["value"]["steps"]
    return unit, right, steps


class Box:
    """Where a panel is, in pixels."""

    def __init__(self, grid, top):
        self.x, self.y = grid["x"] * COLUMN + GAP / 2, (grid["y"] - top) * UNIT + GAP / 2
        self.width, self.height = grid["w"] * COLUMN - GAP, grid["h"] * UNIT - GAP

    def frame(self, title):
        place = f'x="{self.x:.0f}" y="{self.y:.0f}" width="{self.width:.0f}" height="{self.height:.0f}"'
        words = text(self.x + 8, self.y + 17, cut(title, self.width - 16, 12), 12, weight=600)
        return f'<rect {place} rx="2" fill="{PANEL}" stroke="{LINE}"/>{words}'


class Axis:
    """From values to heights."""

    def __init__(self, values, field, unit, top, bottom):
        custom = field.get("defaults", {})
        self.is_log = custom.get("custom", {}).get("scaleDistribution", {}).get("type") == "log"
        self.top, self.bottom = top, bottom
        if self.is_log:
            values = [value for value in values if value > 0] or [1]
            self.ticks = log_ticks(min(values), max(values))
            self.low, self.high = self.ticks[0], self.ticks[-1]
        else:
            self.low = min([*values, 0]) if "min" not in custom else custom["min"]
            self.high = custom.get("max", max(max(values, default=1), self.low)) or 1
            self.ticks = linear_ticks(self.low, self.high, unit)
        if self.high == self.low:
            self.high = self.low * 10 or 1

    def place(self, value):
        if self.is_log:
            share = math.log(max(value, self.low) / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.bottom - max(0.0, min(1.0, share)) * (self.bottom - self.top)


def stretches(points, step_s):
    """Points without gaps between them."""
    found, last = [], None
    for at, value in points:
        if not math.isfinite(value):
            continue
        if last is None or at - last > 1.5 * step_s:
            found.append([])
        found[-1].append((at, value))
        last = at
    return found


def draw_lines(panel, box, found, begin, end, step_s):
    field = panel.get("fieldConfig", {})
    default = field.get("defaults", {}).get("unit", "short")
    lines = [(legend(target, labels), points) for target, series in found for labels, points in series]
    lines = [(name or "value", points, *shown_words(field, name, default)[:2]) for name, points in lines]
    left, right = box.x + 62, box.x + box.width - (58 if any(line[3] for line in lines) else 12)
    rows = legend_rows([line[0] for line in lines], box.width - 20)
    top, bottom = box.y + 30, box.y + box.height - 26 - 15 * len(rows)
    out, axes = [], {}
    for side in sorted({line[3] for line in lines}):
        values = [value for line in lines if line[3] == side for _, value in line[1] if math.isfinite(value)]
        unit = next(line[2] for line in lines if line[3] == side)
        axes[side] = Axis(values, {} if side else field, unit, top, bottom)
        for tick in axes[side].ticks:
            y = axes[side].place(tick)
            if not side:
                out.append(f'<path d="M{left:.0f} {y:.1f}H{right:.0f}" stroke="{LINE}" stroke-width="1"/>')
            where = (right + 6, "start") if side else (left - 6, "end")
            out.append(text(where[0], y + 4, written(tick, unit), 10, DIM, where[1]))
    across = lambda at: left + (at - begin) / (end - begin) * (right - left)  # noqa: E731
    for number in range(5):
        at = begin + (end - begin) * (number + 0.5) / 5
        out.append(text(across(at), bottom + 14, time.strftime("%H:%M:%S", time.gmtime(at)), 10, DIM, "middle"))
    for number, (_, points, _, side) in enumerate(lines):
        colour = COLOURS[number % len(COLOURS)]
        for stretch in stretches(points, step_s):
            path = "L".join(f"{across(at):.1f} {axes[side].place(value):.1f}" for at, value in stretch)
            base = axes[side].place(max(0, axes[side].low)) if not axes[side].is_log else bottom
            area = f"M{across(stretch[0][0]):.1f} {base:.1f}L{path}L{across(stretch[-1][0]):.1f} {base:.1f}Z"
            out.append(f'<path d="{area}" fill="{colour}" fill-opacity="0.1"/>')
            out.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="1.2"/>')
    return out + draw_legend(rows, box, bottom + 30)


def legend_rows(names, width):
    """Numbers and names of the lines, as many in a row as fit."""
    rows, used = [[]], 0
    for number, name in enumerate(names[:12]):
        name = cut(name, 260)
        wide = 28 + len(name) * 6.6
        if rows[-1] and used + wide > width:
            rows.append([])
            used = 0
        rows[-1].append((number, name, used))
        used += wide
    return rows


def draw_legend(rows, box, y):
    out = []
    for row in rows:
        for number, name, x in row:
            colour = COLOURS[number % len(COLOURS)]
            out.append(f'<rect x="{box.x + 10 + x:.0f}" y="{y - 5:.0f}" width="12" height="3" fill="{colour}"/>')
            out.append(text(box.x + 26 + x, y, name, 11, DIM))
        y += 15
    return out


def draw_stat(panel, box, found, begin, end, step_s):
    field, out = panel.get("fieldConfig", {}), []
    series = [(legend(target, labels), points) for target, every in found for labels, points in every]
    width = box.width / max(1, len(series))
    for number, (name, points) in enumerate(series):
        unit, _, steps = shown_words(field, name, field["defaults"].get("unit", "short"))
        points = [point for point in points if math.isfinite(point[1])]
        value = points[-1][1]
        reached = [step["color"] for step in steps if step["value"] is None or value >= step["value"]]
        colour = NAMED[reached[-1]]
        left, bottom = box.x + number * width, box.y + box.height - 2
        highest = max(value for _, value in points) or 1
        path = "L".join(
            f"{left + 2 + (at - begin) / (end - begin) * (width - 4):.1f} {bottom - 34 * at_value / highest:.1f}"
            for at, at_value in points
        )
        shape = f"M{left + 2:.1f} {bottom:.1f}L{path}L{left + width - 2:.1f} {bottom:.1f}Z"
        out.append(f'<path d="{shape}" fill="{colour}" fill-opacity="0.15" stroke="none"/>')
        out.append(text(left + width / 2, box.y + 72, written(value, unit), 30, colour, "middle", 600))
        if len(series) > 1:
            out.append(text(left + width / 2, box.y + 40, name, 12, DIM, "middle"))
    return out


def draw_heatmap(panel, box, found, begin, end, step_s):
    unit = panel["fieldConfig"]["defaults"]["unit"]
    buckets = {float(labels["le"].replace("+Inf", "inf")): dict(points) for _, every in found for labels, points in every}
    bounds = sorted(buckets)
    times = sorted({at for points in buckets.values() for at in points})
    cells = {}
    for at in times:
        below = 0.0
        for bound in bounds:
            value = buckets[bound].get(at, below)
            cells[at, bound] = max(0.0, value - below)
            below = value
    most = max(cells.values(), default=1) or 1
    used = [bound for bound in bounds if any(cells[at, bound] for at in times)] or bounds[:1]
    first, last = bounds.index(used[0]), bounds.index(used[-1])
    shown = bounds[max(0, first - 1) : last + 2]
    left, right, top, bottom = box.x + 62, box.x + box.width - 12, box.y + 30, box.y + box.height - 26
    height, width, out = (bottom - top) / len(shown), (right - left) / len(times), []
    for number, bound in enumerate(shown):
        y = bottom - (number + 1) * height
        words = "+Inf" if math.isinf(bound) else written(bound, unit) if unit == "s" else f"{bound:.0f} B"
        out.append(text(left - 6, y + height / 2 + 4, words, 10, DIM, "end"))
        for column, at in enumerate(times):
            value = cells[at, bound]
            if value:
                colour = shade(VIRIDIS, (value / most) ** 0.5)
                place = f'x="{left + column * width:.1f}" y="{y + 0.5:.1f}"'
                out.append(f'<rect {place} width="{max(width - 1, 1):.1f}" height="{height - 1:.1f}" fill="{colour}"/>')
    for number in range(5):
        at = begin + (end - begin) * (number + 0.5) / 5
        x = left + (number + 0.5) / 5 * (right - left)
        out.append(text(x, bottom + 14, time.strftime("%H:%M:%S", time.gmtime(at)), 10, DIM, "middle"))
    return out


def table_of(panel, found):
    """Column names and rows, after the transformations that the dashboard uses."""
    changes = {each["id"]: each["options"] for each in panel.get("transformations", [])}
    series = [(target, labels, points[-1][1]) for target, every in found for labels, points in every]
    if "groupingToMatrix" in changes:
        options = changes["groupingToMatrix"]
        keys = [(labels.get(options["rowField"], ""), labels.get(options["columnField"], "")) for _, labels, _ in series]
        values = dict(zip(keys, (value for _, _, value in series)))
        columns = sorted({column for _, column in keys})
        corner = f"{options['rowField']}\\{options['columnField']}"
        rows = [[row, *(values.get((row, column)) for column in columns)] for row in sorted({row for row, _ in keys})]
        return [corner, *columns], rows
    merged = {}
    many = len({target["refId"] for target, _, _ in series}) > 1
    for target, labels, value in series:
        name = f"Value #{target['refId']}" if many else "Value"
        merged.setdefault(labels.get("instance", str(labels)), {}).update({**labels, name: value})
    options = changes.get("organize", {})
    hidden, renamed = options.get("excludeByName", {}), options.get("renameByName", {})
    places = options.get("indexByName", {})
    columns = sorted({name for row in merged.values() for name in row if not hidden.get(name)}, key=lambda name: (places.get(name, 99), name))
    rows = [[row.get(name, "") for name in columns] for row in merged.values()]
    return [renamed.get(name, name) for name in columns], sorted(rows, key=lambda row: [str(cell) for cell in row])


def draw_table(panel, box, found, begin, end, step_s):
    field = panel.get("fieldConfig", {})
    unit = field.get("defaults", {}).get("unit", "short")
    coloured = field.get("defaults", {}).get("custom", {}).get("cellOptions", {}).get("type") == "color-background"
    columns, rows = table_of(panel, found)
    numbers = [cell for row in rows for cell in row if isinstance(cell, float)]
    low, high = min(numbers, default=0), max(numbers, default=1)
    cells = [[cell if isinstance(cell, str) else "" if cell is None else written(cell, shown_words(field, name, unit)[0]) for name, cell in zip(columns, row)] for row in rows]
    longest = [max(len(line[number]) for line in [columns, *cells]) + 2 for number in range(len(columns))]
    widths = [(box.width - 16) * each / sum(longest) for each in longest]
    out, y = [], box.y + 42
    for line, values in zip([columns, *cells], [None, *rows]):
        x = box.x + 8
        for number, (words, width) in enumerate(zip(line, widths)):
            filled = values is not None and coloured and isinstance(values[number], float)
            if filled:
                colour = shade(BLYLRD, (values[number] - low) / ((high - low) or 1))
                out.append(f'<rect x="{x:.0f}" y="{y - 15:.0f}" width="{width - 2:.0f}" height="22" fill="{colour}"/>')
            colour = "#111217" if filled else COLOURS[2] if values is None else TEXT
            out.append(text(x + 5, y, cut(words, width), 11, colour, weight=600 if values is None else 400))
            x += width
        y += 24
        if y > box.y + box.height - 6:
            break
    return out


def draw_pie(panel, box, found, begin, end, step_s):
    parts = [(legend(target, labels), points[-1][1]) for target, every in found for labels, points in every]
    total = sum(value for _, value in parts) or 1
    rows = [[(number, f"{name}: {value:.0f}", 0)] for number, (name, value) in enumerate(parts)]
    radius = min(box.width, box.height - 60 - 15 * len(rows)) / 2 - 6
    x, y, turn, out = box.x + box.width / 2, box.y + 34 + radius, -math.pi / 2, []
    for number, (_, value) in enumerate(parts):
        colour, after = COLOURS[number % len(COLOURS)], turn + 2 * math.pi * value / total * 0.99999
        ends = [f"{x + radius * math.cos(angle):.1f} {y + radius * math.sin(angle):.1f}" for angle in (turn, after)]
        large = int(value / total > 0.5)
        out.append(f'<path d="M{x:.1f} {y:.1f}L{ends[0]}A{radius:.1f} {radius:.1f} 0 {large} 1 {ends[1]}Z" fill="{colour}"/>')
        turn = after
    return out + draw_legend(rows, box, y + radius + 24)


KINDS = {
    "timeseries": draw_lines,
    "stat": draw_stat,
    "heatmap": draw_heatmap,
    "table": draw_table,
    "piechart": draw_pie,
}


# The first row has one line of numbers, and goes with the next one.
NAMES = {"Now": "server", "Server": "server", "Prober": "prober", "Path, as the kernel sees it": "path"}
# Of the picture for those who only want a look, in the dashboard's own units.
OVERVIEW_HEIGHT = 22


def sections():
    """File name to panels."""
    found, name = {}, ""
    for panel in panels():
        if panel["type"] == "row":
            name = NAMES.get(panel["title"], "mesh")
        found.setdefault(name, []).append(panel)
    found["overview"] = [panel for panel in found["server"] if panel["gridPos"]["y"] < OVERVIEW_HEIGHT]
    return found


def draw(fleet, begin, end, step_s, folder):
    folder.mkdir(parents=True, exist_ok=True)
    for name, every in sections().items():
        top = min(panel["gridPos"]["y"] for panel in every)
        height = (max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in every) - top) * UNIT
        out = [f'<rect width="{24 * COLUMN}" height="{height}" fill="{BACK}"/>']
        for panel in every:
            box = Box(panel["gridPos"], top)
            if panel["type"] == "row":
                out.append(text(box.x + 4, box.y + 20, panel["title"], 14, weight=600))
                continue
            out.append(box.frame(panel["title"]))
            found = list(answers(fleet, panel, begin, end, step_s))
            if any(series for _, series in found):
                out += KINDS[panel["type"]](panel, box, found, begin, end, step_s)
        head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {24 * COLUMN} {height}" font-family="Inter, Helvetica, Arial, sans-serif">'
        (folder / f"dashboard-{name}.svg").write_text("\n".join([head, *out, "</svg>", ""]))
