"""Numbers as Grafana writes them, and the ticks of an axis."""

import math
import time

BINARY = ["", "Ki", "Mi", "Gi", "Ti"]
DECIMAL = ["", "k", "M", "G", "T"]


def scaled(value, base, prefixes):
    size = 0
    while abs(value) >= base and size < len(prefixes) - 1:
        value, size = value / base, size + 1
    return value, prefixes[size]


def digits(value):
    """Three significant digits at most, without zeros at the end."""
    text = f"{value:.3g}"
    return f"{float(text):.0f}" if "e" in text else text


def written(value, unit):
    if not math.isfinite(value):
        return "-"
    if unit == "s":
        for limit, factor, name in [(1e-3, 1e6, "µs"), (1, 1e3, "ms"), (60, 1, "s")]:
            if abs(value) < limit:
                return f"{digits(value * factor)} {name}" if value else "0 s"
        return f"{digits(value / 60)} min"
    if unit == "ms":
        return written(value / 1000, "s")
    if unit == "percentunit":
        return f"{digits(value * 100)} %"
    if unit == "dateTimeFromNow":
        minutes = (time.time() - value / 1000) / 60
        return "a few seconds ago" if minutes < 1 else f"{minutes:.0f} min ago"
    names = {"reqps": " req/s", "cps": " c/s", "pps": " p/s", "bps": "b/s"}
    if unit in ("binBps", "bytes"):
        number, prefix = scaled(value, 1024, BINARY)
        return f"{digits(number)} {prefix}B" + ("/s" if unit == "binBps" else "")
    if unit == "bps":
        number, prefix = scaled(value, 1000, DECIMAL)
        return f"{digits(number)} {prefix}b/s"
    if unit == "none":
        return digits(value) if abs(value) < 1000 else f"{value:.0f}"
    number, prefix = scaled(value, 1000, DECIMAL)
    return f"{digits(number)}{' ' + prefix if prefix and unit != 'short' else prefix}{names.get(unit, '')}"


def linear_ticks(low, high, unit):
    """Four or five round numbers."""
    span = (high - low) or 1
    base = 1024 ** int(math.log(max(span, 1), 1024)) if unit in ("binBps", "bytes") else 1
    rough = span / base / 4
    power = 10 ** math.floor(math.log10(rough))
    step = base * power * min((each for each in (1, 2, 5, 10) if each * power >= rough * 0.8), default=10)
    first = math.ceil(low / step - 1e-9)
    return [number * step for number in range(first, math.floor(high / step + 1e-9) + 1)]


def log_ticks(low, high):
    return [10.0**power for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)]
