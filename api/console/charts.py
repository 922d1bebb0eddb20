"""Charts as shapes for a template to draw: without scripts and inline styles, so that the policy can forbid both."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from api.console.words import clock, count, span

WIDTH, HEIGHT = 500, 176
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 4, 10, 22

#: what is drawn one on top of the other, from the bottom up: the kinds of events, and what the legend calls them
LAYERS = (
    ("sent", ("sent",), "sent"),
    ("deferred", ("deferred", "ambiguous", "recovered"), "deferred"),
    ("bounced", ("bounced", "complained", "expired", "parked"), "bounced"),
)


@dataclass(frozen=True, slots=True)
class Point:
    """One step of time: what is stacked there, from the bottom up, and what its lines have."""

    words: str  #: what hovering over it says
    tick: str = ""  #: what stands under it
    stack: Mapping[str, float] = field(default_factory=dict)
    lines: Mapping[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Bar:
    x: float
    y: float
    width: float
    height: float
    layer: str


@dataclass(frozen=True, slots=True)
class Column:
    """One step of time: its bars, and what hovering over it says."""

    x: float
    width: float
    bars: tuple[Bar, ...]
    words: str


@dataclass(frozen=True, slots=True)
class Chart:
    label: str  #: for those who cannot see it
    nothing: str  #: what stands there where there is nothing to draw; else empty
    columns: tuple[Column, ...]
    lines: tuple[tuple[str, str], ...]  #: class and path
    ticks: tuple[tuple[float, str], ...]  #: y and its words
    times: tuple[tuple[float, str], ...]  #: x and its words
    width: int = WIDTH
    height: int = HEIGHT
    left: int = _LEFT
    right: int = WIDTH - _RIGHT
    bottom: int = HEIGHT - _BOTTOM
    top: int = _TOP


def draw(
    points: Sequence[Point],
    label: str,
    *,
    nothing: str,
    say: Callable[[float], str] = lambda value: count(round(value)),
    least: float = 4,
) -> Chart:
    """Columns and lines over time. The scale ends at `least` or above; `say` puts its values into words."""
    known = [value for point in points for value in point.lines.values() if value is not None]
    most = max([0.0, *known, *(sum(point.stack.values()) for point in points)])
    top = _nice(max(most, least))
    step = (WIDTH - _LEFT - _RIGHT) / max(len(points), 1)
    columns, times = [], []
    for place, point in enumerate(points):
        x = _LEFT + place * step
        columns.append(Column(round(x, 1), round(step, 1), _bars(point, x, step, top), point.words))
        if point.tick:
            times.append((round(x + step / 2, 1), point.tick))
    names = points[0].lines if points else ()
    return Chart(
        label,
        "" if most else nothing,
        tuple(columns),
        tuple((name, _line([point.lines[name] for point in points], top, step)) for name in names),
        tuple((_y(top * part / 4, top), say(top * part / 4)) for part in range(5)),
        tuple(times),
    )


def _bars(point: Point, x: float, step: float, top: float) -> tuple[Bar, ...]:
    gap = min(0.75, step / 6)
    bars, y = [], float(HEIGHT - _BOTTOM)
    for layer, value in point.stack.items():
        height = value / top * (HEIGHT - _TOP - _BOTTOM)
        if height:
            y -= height
            bars.append(
                Bar(round(x + gap, 1), round(y, 1), round(step - 2 * gap, 1), round(height, 1), layer)
            )
    return tuple(bars)


def mails(minutes: Sequence[Mapping[str, Any]]) -> Chart:
    """Mail by minute: what became of it as bars, what was accepted as a line."""
    stacks = [_stack(minute) for minute in minutes]
    totals = {layer: sum(stack[layer] for stack in stacks) for layer, _, _ in LAYERS}
    label = ", ".join(f"{count(total)} {layer}" for layer, total in totals.items())
    return draw(
        [
            Point(_said(one, stack), _minute(minutes, place), stack, {"accepted": one["accepted"]})
            for place, (one, stack) in enumerate(zip(minutes, stacks, strict=True))
        ],
        f"The last hour: {count(sum(one['accepted'] or 0 for one in minutes))} accepted, {label}",
        nothing="Nothing in the last hour",
    )


def latency(minutes: Sequence[Mapping[str, Any]]) -> Chart:
    """Seconds from acceptance to a provider's, by minute: half of the mails, and nineteen of twenty."""
    known = [one["p95_seconds"] for one in minutes if one["p95_seconds"] is not None]
    return draw(
        [
            Point(
                f"{clock(one['at'])[:5]}  median {span(one['median_seconds'])}, "
                f"95 % within {span(one['p95_seconds'])}",
                _minute(minutes, place),
                lines={"p95": one["p95_seconds"], "median": one["median_seconds"]},
            )
            for place, one in enumerate(minutes)
        ],
        f"Latency over the last hour: at worst 95 % within {span(max(known))}" if known else "No latency yet",
        nothing="Nothing in the last hour",
        say=span,
        least=0.05 if known else 1.0,
    )


def _stack(minute: Mapping[str, Any]) -> dict[str, int]:
    events = minute["events"] or {}
    return {layer: sum(events.get(kind, 0) for kind in kinds) for layer, kinds, _ in LAYERS}


def _said(minute: Mapping[str, Any], stack: Mapping[str, int]) -> str:
    if minute["accepted"] is None:
        return f"{clock(minute['at'])[:5]}  not counted yet"
    words = ", ".join(f"{count(number)} {layer}" for layer, number in stack.items() if number)
    return f"{clock(minute['at'])[:5]}  {count(minute['accepted'])} accepted{', ' + words if words else ''}"


def _minute(minutes: Sequence[Mapping[str, Any]], place: int) -> str:
    """Every tenth minute has its words; the last ones have no room for them."""
    written = clock(minutes[place]["at"])[:5]
    return written if int(written[3:]) % 10 == 0 and place < len(minutes) - 2 else ""


def _nice(most: float) -> float:
    """A number at or above `most` whose quarters are round."""
    quarter = most / 4
    power = 10.0 ** math.floor(math.log10(quarter))
    return 4 * next(step * power for step in (1, 2, 3, 5, 10) if step * power >= quarter * 0.999)


def _y(value: float, top: float) -> float:
    return round(HEIGHT - _BOTTOM - value / top * (HEIGHT - _TOP - _BOTTOM), 1)


def _line(values: Sequence[float | None], top: float, step: float) -> str:
    """An SVG path with gaps where nothing is known."""
    path, drawing = [], False
    for place, value in enumerate(values):
        if value is None:
            drawing = False
            continue
        x = round(_LEFT + (place + 0.5) * step, 1)
        # A point by itself gets a length that a round line end makes visible.
        path.append(f"{'L' if drawing else 'M'}{x} {_y(value, top)}" + ("" if drawing else "h.1"))
        drawing = True
    return "".join(path)
