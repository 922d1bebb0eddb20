"""A configuration of providers and routes is checked as a whole; every fault has its file, line and reason."""

import pytest

from relay.config import parse
from relay.core.errors import Misconfigured

GOOD = """
[providers.ses]
type = "memory"
rate = "50/s"
quota = "50000/day"
per_domain = 20
warmup = { start = "2026-01-01", daily = [50, 100, 500] }

[providers.office]
type = "memory"

[routes.default]
use = "failover(ses, weighted(office: 3, ses: 1))"

[[routes.rules]]
when = { classification = "URGENT", sender_domain = ["example.org", "*.example.org"] }
use = "office"

[[routes.rules]]
use = "ses"
[routes.rules.when]
tag = "news*"
"""


def test_a_good_one_is_taken() -> None:
    settings = parse(GOOD)
    assert settings.limits_of("ses").rate == "50/s"
    assert settings.limits_of("office").concurrency is None
    assert [rule.use for rule in settings.routes.rules] == ["office", "ses"]


@pytest.mark.parametrize(
    ("old", "new", "line", "reason"),
    [
        (
            "failover(ses, w",
            "failover(sse, w",
            13,
            "routes.default.use: at character 10: 'sse' is no provider",
        ),
        (
            "failover(ses, w",
            "failover(ses; w",
            13,
            "routes.default.use: at character 13: ';' has no place here",
        ),
        ('use = "office"', 'use = "offic"', 17, "routes.rules.0.use: at character 1: 'offic' is no provider"),
        ('use = "ses"', 'use = "failover(ses"', 20, "routes.rules.1.use: at character 13: ')' is missing"),
        ("tag =", "tags =", 22, "routes.rules.1.when.tags: is not a setting"),
        ('tag = "news*"', "", 21, "routes.rules.1.when: has no condition"),
        ('rate = "50/s"', 'rate = "50/x"', 4, "providers.ses.rate: '50/x' is no rate"),
        ("per_domain = 20", "per_domain = 0", 6, "providers.ses.per_domain: Input should be greater than"),
        ("daily = [50", "daily = [-1", 7, "providers.ses.warmup.daily.0: Input should be greater than"),
        ('[providers.office]\ntype = "memory"', "[providers.office]", 9, "providers.office: needs a type"),
    ],
)
def test_a_fault_is_told_with_file_and_line(old: str, new: str, line: int, reason: str) -> None:
    assert old in GOOD
    with pytest.raises(Misconfigured) as caught:
        parse(GOOD.replace(old, new, 1), "pillarbox.toml")
    assert str(caught.value).startswith(f"pillarbox.toml:{line}: {reason}"), str(caught.value)


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(Misconfigured) as caught:
        parse(GOOD.replace("failover(ses", "failover(one").replace('use = "office"', 'use = "two"'), "f")
    assert [text.partition(" is no")[0].rpartition(" ")[2] for text in str(caught.value).splitlines()] == [
        "'one'",
        "'two'",
    ]


def test_several_providers_need_a_route() -> None:
    with pytest.raises(Misconfigured, match=r"routes\.default\.use: is needed to choose"):
        parse('[providers.a]\ntype = "memory"\n[providers.b]\ntype = "memory"\n')
