"""What a benchmark found, as Markdown and as a plot, written by the tool that measured it."""

import statistics
from collections.abc import Mapping, Sequence
from html import escape

#: by name in the results: heading, and decimals
COLUMNS = {
    "accepted_per_second": ("accepted/s", 0),
    "delivered_per_second": ("relayed/s", 0),
    "p50_ms": ("accept p50 ms", 1),
    "p99_ms": ("accept p99 ms", 1),
    "cpu_per_1000": ("CPU s / 1,000", 2),
    "memory_mib": ("memory MiB (PSS)", 0),
    "lost": ("lost", 0),
    "doubled": ("doubled", 0),
}
_BARS = {"accepted_per_second": "#9db4c8", "delivered_per_second": "#2f5d86"}
_WIDTH, _LABEL, _ROW = 680, 150, 44

Rounds = Sequence[Mapping[str, float]]


def median(rounds: Rounds, column: str) -> float:
    return statistics.median(one[column] for one in rounds)


def _cell(rounds: Rounds, column: str, decimals: int) -> str:
    values = [one[column] for one in rounds]
    middle = f"{statistics.median(values):,.{decimals}f}"
    if len(values) < 2:
        return middle
    return f"{middle} [{min(values):,.{decimals}f} to {max(values):,.{decimals}f}]"


def table(results: Mapping[str, Rounds]) -> str:
    """Medians with ranges, a row for each relay, the fastest first."""
    lines = ["| relay | " + " | ".join(heading for heading, _ in COLUMNS.values()) + " |"]
    lines.append("|---" * (len(COLUMNS) + 1) + "|")
    for name in _by_rate(results):
        cells = [_cell(results[name], column, decimals) for column, (_, decimals) in COLUMNS.items()]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def ratios(results: Mapping[str, Rounds], ours: str) -> str:
    """How many times as much is relayed as by each of the others; nothing where there are none."""
    if ours not in results:
        return ""
    rate = median(results[ours], "delivered_per_second")
    said = [
        f"{rate / median(found, 'delivered_per_second'):.1f} times {name}"
        for name, found in results.items()
        if not name.startswith(ours)
    ]
    return f"Relayed by {ours}: {', '.join(said)}." if said else ""


def _by_rate(results: Mapping[str, Rounds]) -> list[str]:
    return sorted(results, key=lambda name: -median(results[name], "delivered_per_second"))


def plot(results: Mapping[str, Rounds], title: str) -> str:
    """An SVG of accepted and relayed mails per second: bars for medians, a line from the least to the most."""
    names = _by_rate(results)
    most = max(one[column] for rounds in results.values() for one in rounds for column in _BARS)
    scale = (_WIDTH - _LABEL - 70) / most
    height = 60 + _ROW * len(names)
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif"'
            f' font-size="12"><title>{escape(title)}</title><rect width="100%" height="100%" fill="white"/>'
        ),
        f'<text x="10" y="20" font-size="14" font-weight="bold">{escape(title)}</text>',
    ]
    for number, (column, colour) in enumerate(_BARS.items()):
        x = _LABEL + number * 110
        parts.append(f'<rect x="{x}" y="30" width="10" height="10" fill="{colour}"/>')
        parts.append(f'<text x="{x + 15}" y="39">{COLUMNS[column][0]}</text>')
    for row, name in enumerate(names):
        top = 52 + row * _ROW
        parts.append(f'<text x="{_LABEL - 8}" y="{top + 20}" text-anchor="end">{escape(name)}</text>')
        for number, (column, colour) in enumerate(_BARS.items()):
            values = [one[column] for one in results[name]]
            y, middle = top + number * 16, statistics.median(values)
            low, high = (_LABEL + value * scale for value in (min(values), max(values)))
            parts.append(
                f'<rect x="{_LABEL}" y="{y}" width="{middle * scale:.1f}" height="14" fill="{colour}"/>'
                f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{y + 7}" y2="{y + 7}" stroke="black"/>'
                f'<text x="{high + 6:.1f}" y="{y + 11}">{middle:,.0f}</text>'
            )
    return "\n".join([*parts, "</svg>"]) + "\n"
