"""Charts as shapes for a template to draw: without scripts and inline styles, so that the policy can forbid both."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
class Bar:
    x: float
    y: float
    width: float
    height: float
    layer: str


@dataclass(frozen=True, slots=True)
class Column:
    """One minute: its bars, and what hovering over it says."""

    x: float
    width: float
    bars: tuple[Bar, ...]
    words: str


@dataclass(frozen=True, slots=True)
class Chart:
    label: str  #: for those who cannot see it
    columns: tuple[Column, ...]
    lines: tuple[tuple[str, str], ...]  #: class and path
    ticks: tuple[tuple[float, str], ...]  #: y and its words
    times: tuple[tuple[float, str], ...]  #: x and its words
    empty: bool
    width: int = WIDTH
    height: int = HEIGHT
    left: int = _LEFT
    right: int = WIDTH - _RIGHT
    bottom: int = HEIGHT - _BOTTOM
    top: int = _TOP


def mails(minutes: Sequence[Mapping[str, Any]]) -> Chart:
    """Mail by minute: what became of it as bars, what was accepted as a line."""
    stacks = [_stack(minute) for minute in minutes]
    most = max([1, *(sum(stack.values()) for stack in stacks), *(one["accepted"] or 0 for one in minutes)])
    top = _nice(most)
    step = (WIDTH - _LEFT - _RIGHT) / len(minutes)
    columns = []
    for place, (minute, stack) in enumerate(zip(minutes, stacks, strict=True)):
        x = _LEFT + place * step
        y: float = HEIGHT - _BOTTOM
        bars = []
        for layer, _, _ in LAYERS:
            height = stack[layer] / top * (HEIGHT - _TOP - _BOTTOM)
            if height:
                y -= height
                bars.append(
                    Bar(round(x + 0.75, 1), round(y, 1), round(step - 1.5, 1), round(height, 1), layer)
                )
        columns.append(Column(round(x, 1), round(step, 1), tuple(bars), _said(minute, stack)))
    accepted = [one["accepted"] for one in minutes]
    totals = {layer: sum(stack[layer] for stack in stacks) for layer, _, _ in LAYERS}
    label = ", ".join(f"{count(total)} {layer}" for layer, total in totals.items())
    return Chart(
        f"The last hour: {count(sum(one or 0 for one in accepted))} accepted, {label}",
        tuple(columns),
        (("accepted", _line(accepted, top, step)),),
        tuple((_y(value, top), count(round(value))) for value in _ticks(top)),
        _times(minutes, step),
        not any(accepted) and not any(totals.values()),
    )


def latency(minutes: Sequence[Mapping[str, Any]]) -> Chart:
    """Seconds from acceptance to a provider's, by minute: half of the mails, and nineteen of twenty."""
    known = [one["p95_seconds"] for one in minutes if one["p95_seconds"] is not None]
    top = _nice(max(known, default=1.0), least=0.05)
    step = (WIDTH - _LEFT - _RIGHT) / len(minutes)
    columns = tuple(
        Column(
            round(_LEFT + place * step, 1),
            round(step, 1),
            (),
            f"{clock(one['at'])[:5]}  median {span(one['median_seconds'])}, 95 % within {span(one['p95_seconds'])}",
        )
        for place, one in enumerate(minutes)
    )
    return Chart(
        f"Latency over the last hour: at worst 95 % within {span(max(known))}" if known else "No latency yet",
        columns,
        (
            ("p95", _line([one["p95_seconds"] for one in minutes], top, step)),
            ("median", _line([one["median_seconds"] for one in minutes], top, step)),
        ),
        tuple((_y(value, top), span(value)) for value in _ticks(top)),
        _times(minutes, step),
        not known,
    )


def _stack(minute: Mapping[str, Any]) -> dict[str, int]:
    events = minute["events"] or {}
    return {layer: sum(events.get(kind, 0) for kind in kinds) for layer, kinds, _ in LAYERS}


def _said(minute: Mapping[str, Any], stack: Mapping[str, int]) -> str:
    if minute["accepted"] is None:
        return f"{clock(minute['at'])[:5]}  not counted yet"
    words = ", ".join(f"{count(number)} {layer}" for layer, number in stack.items() if number)
    return f"{clock(minute['at'])[:5]}  {count(minute['accepted'])} accepted{', ' + words if words else ''}"


def _nice(most: float, least: float = 4) -> float:
    """A number at or above `most` whose quarters are round."""
    quarter = max(most, least) / 4
    power = 10.0 ** math.floor(math.log10(quarter))
    return 4 * next(step * power for step in (1, 2, 3, 5, 10) if step * power >= quarter * 0.999)


def _ticks(top: float) -> tuple[float, ...]:
    return tuple(top * part / 4 for part in range(5))


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


def _times(minutes: Sequence[Mapping[str, Any]], step: float) -> tuple[tuple[float, str], ...]:
    return tuple(
        (round(_LEFT + (place + 0.5) * step, 1), clock(one["at"])[:5])
        for place, one in enumerate(minutes)
        # The last ones have no room for their words.
        if int(clock(one["at"])[3:5]) % 10 == 0 and place < len(minutes) - 2
    )
