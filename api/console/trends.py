"""Counts over time as charts: what became of mail, how much of it was lost, and who it was by."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from api.console import charts
from api.console.charts import Chart, Point
from api.console.words import count
from relay.core.clock import now

Counts = Mapping[str, int]

BOUNCED = ("bounced_hard", "bounced_soft", "bounced_block")
#: what is drawn, from the bottom up, and the counts that are in it
_LAYERS = {
    "sent": ("sent",),
    "deferred": ("deferred",),
    "bounced": (*BOUNCED, "complained", "expired"),
}
_RESPONSES = ("delivered", "opened", "clicked")
_NOTHING = "Nothing in this time"


class _Zeros(dict[str, int]):
    def __missing__(self, _name: str) -> int:
        return 0


_ZEROS = _Zeros()


@dataclass(frozen=True, slots=True)
class Steps:
    """The hours, days or months (UTC) of a chart, the last of them begun."""

    by: str
    times: tuple[datetime, ...]

    @classmethod
    def until_now(cls, by: str, number: int) -> Self:
        last = now().astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        if by == "hour":
            return cls(by, tuple(last - timedelta(hours=back) for back in range(number - 1, -1, -1)))
        last = last.replace(hour=0)
        if by == "day":
            return cls(by, tuple(last - timedelta(days=back) for back in range(number - 1, -1, -1)))
        months = [last.year * 12 + last.month - 1 - back for back in range(number - 1, -1, -1)]
        return cls(by, tuple(datetime(month // 12, month % 12 + 1, 1, tzinfo=UTC) for month in months))

    def label(self, place: int) -> str:
        form = {"hour": "%d %b %H:%M", "day": "%a %d %b", "month": "%B %Y"}[self.by]
        return self.times[place].strftime(form)

    def tick(self, place: int) -> str:
        """What stands under it: about eight have words, and of several days each."""
        at, every = self.times[place], -(-len(self.times) // 8)
        if self.by == "month":
            return f"{at:%b}"
        if self.by == "day":
            return f"{at:%d %b}" if (len(self.times) - 1 - place) % every == every // 2 else ""
        if len(self.times) > 48:
            return f"{at:%d %b}" if at.hour == 12 else ""
        return f"{at:%H:%M}" if at.hour % every == 0 else ""

    def spread(self, rows: Sequence[Mapping[str, Any]]) -> list[Counts]:
        """The counts of each step; zeros where nothing was counted."""
        known = {datetime.fromisoformat(row["at"]): row for row in rows}
        return [known.get(at, _ZEROS) for at in self.times]

    def point(self, place: int, words: str, **drawn: Any) -> Point:
        return Point(f"{self.label(place)}  {words}", self.tick(place), **drawn)


def outcomes(steps: Steps, found: Sequence[Counts]) -> Chart:
    """What was accepted as a line, and what became of it as columns."""
    stacks = [
        {layer: sum(counts[name] for name in names) for layer, names in _LAYERS.items()} for counts in found
    ]
    points = []
    for place, (counts, stack) in enumerate(zip(found, stacks, strict=True)):
        words = "".join(f", {count(number)} {layer}" for layer, number in stack.items() if number)
        said = f"{count(counts['accepted'])} accepted{words}"
        points.append(steps.point(place, said, stack=stack, lines={"accepted": counts["accepted"]}))
    total = "".join(f", {count(sum(stack[layer] for stack in stacks))} {layer}" for layer in _LAYERS)
    accepted = sum(counts["accepted"] for counts in found)
    return charts.draw(points, f"{count(accepted)} accepted{total}", nothing=_NOTHING)


def losses(steps: Steps, found: Sequence[Counts]) -> Chart:
    """Of a hundred recipients that a provider took, how many bounced, and how many called it spam."""
    points = []
    for place, counts in enumerate(found):
        sent = counts["sent"]
        if not sent:
            lines: dict[str, float | None] = {"bounce": None, "complaint": None}
            points.append(steps.point(place, "nothing sent", lines=lines))
            continue
        bounced = 100 * sum(counts[name] for name in BOUNCED) / sent
        complained = 100 * counts["complained"] / sent
        words = f"{bounced:.1f} % bounced, {complained:.2f} % complained"
        points.append(steps.point(place, words, lines={"bounce": bounced, "complaint": complained}))
    return charts.draw(
        points,
        "Bounced and complained in percent of what was sent",
        nothing="Nothing bounced in this time",
        say=lambda value: f"{value:.0f} %",
    )


def responses(steps: Steps, found: Sequence[Counts]) -> Chart | None:
    """What is known only of mail that reports come for; None where none came."""
    totals = {name: sum(counts[name] for counts in found) for name in _RESPONSES}
    if not any(totals.values()):
        return None
    points = [
        steps.point(
            place,
            ", ".join(f"{count(counts[name])} {name}" for name in _RESPONSES),
            lines={name: counts[name] for name in _RESPONSES},
        )
        for place, counts in enumerate(found)
    ]
    label = ", ".join(f"{count(total)} {name}" for name, total in totals.items())
    return charts.draw(points, label, nothing=_NOTHING)


def split(
    steps: Steps, measure: str, label: str, values: Mapping[str, Sequence[Counts]], totals: Sequence[Counts]
) -> Chart:
    """One measure, each of `values` in a colour of its own and all others together."""
    points = []
    for place, total in enumerate(totals):
        each = {name: counts[place][measure] for name, counts in values.items()}
        rest = max(total[measure] - sum(each.values()), 0)
        said = [f"{name} {count(number)}" for name, number in each.items() if number]
        said += [f"others {count(rest)}"] if rest else []
        stack = {f"v{number}": value for number, value in enumerate(each.values(), 1)}
        points.append(steps.point(place, ", ".join(said) or "nothing", stack={**stack, "rest": rest}))
    return charts.draw(points, label, nothing=_NOTHING)
