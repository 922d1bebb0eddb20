"""Route expressions, rules and the choice: pure, so tables and properties say it all."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core import routes
from relay.core.routes import BadExpression
from relay.routing import FRESH, Block, Facts, History, Router, Rule, Why, switch_of
from relay.sections import RuleSettings

NAMES = ["a", "b", "c", "d-1"]

names = st.sampled_from(NAMES)
trees = st.recursive(
    names,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda each: f"failover({', '.join(each)})"),
        st.lists(st.tuples(inner, st.integers(1, 9)), min_size=1, max_size=3).map(
            lambda each: f"weighted({', '.join(f'{one}: {weight}' for one, weight in each)})"
        ),
    ),
    max_leaves=6,
)


def depth(text: str) -> int:
    most = here = 0
    for sign in text:
        here += (sign == "(") - (sign == ")")
        most = max(most, here)
    return most


@given(trees.filter(lambda text: depth(text) <= routes.MAX_DEPTH))
def test_an_expression_reads_back_as_it_was_written(text: str) -> None:
    assert str(routes.parse(text)) == text
    assert routes.parse(text.replace(" ", "")) is not None
    assert set(routes.order(routes.parse(text), 7)) == {use.name for use in routes.uses(routes.parse(text))}


@pytest.mark.parametrize(
    ("text", "at", "reason"),
    [
        ("", 1, "is empty"),
        ("failover(a, b", 14, "')' is missing"),
        ("failover a", 10, "is too much"),
        ("failover(a; b)", 11, "';' has no place here"),
        ("roundrobin(a, b)", 1, "not a way to choose"),
        ("failover(a: 2, b)", 11, "only weighted"),
        ("weighted(a: x)", 13, "is no weight"),
        ("weighted(a: 0)", 13, "is no weight"),
        ("failover()", 10, "where a provider should be"),
        ("failover(a) b", 13, "is too much"),
        ("failover(failover(failover(failover(failover(a)))))", 37, "nested more than 4"),
    ],
)
def test_a_fault_is_told_with_its_place(text: str, at: int, reason: str) -> None:
    with pytest.raises(BadExpression) as caught:
        routes.parse(text)
    assert (caught.value.at, reason in caught.value.reason) == (at, True), caught.value


def test_every_name_knows_its_place() -> None:
    tree = routes.parse("failover(ses, weighted(pm: 3, office: 1))")
    assert [(use.name, use.at) for use in routes.uses(tree)] == [("ses", 10), ("pm", 24), ("office", 31)]


def test_weights_are_shares_and_a_mail_keeps_its_own() -> None:
    tree = routes.parse("weighted(a: 3, b: 1)")
    ids = [number * 4_194_304 + 17 for number in range(10_000)]
    firsts = Counter(routes.order(tree, one)[0] for one in ids)
    assert 7300 < firsts["a"] < 7700
    assert all(routes.order(tree, one) == routes.order(tree, one) for one in ids[:100])
    # Another weight for one moves mail to it, and between no two others.
    before = routes.parse("weighted(a: 1, b: 1, c: 1)")
    after = routes.parse("weighted(a: 1, b: 1, c: 3)")
    moved = {(routes.order(before, one)[0], routes.order(after, one)[0]) for one in ids}
    assert moved == {("a", "a"), ("b", "b"), ("c", "c"), ("a", "c"), ("b", "c")}


def test_nested_orders() -> None:
    tree = routes.parse("failover(weighted(a: 1, b: 1), c, a)")
    assert {routes.order(tree, one) for one in range(50)} == {("a", "b", "c"), ("b", "a", "c")}


def rule(use: str = "a", **when) -> Rule:
    return Rule(1, RuleSettings(use=use, when=when))


FACTS = Facts(
    id=1,
    sender="Ann@News.Example.org",
    recipient="bob@gmail.com",
    account="acme",
    key="billing",
    classification="URGENT",
    tag="otp-login",
    stream="bulk",
    lane="urgent",
    size=5000,
)


@pytest.mark.parametrize(
    ("when", "matches"),
    [
        ({"sender": "ann@news.example.org"}, True),
        ({"sender": "*@news.example.org"}, True),
        ({"sender": "ann@example.org"}, False),
        ({"sender_domain": "*.example.org"}, True),
        ({"sender_domain": "example.org"}, False),
        ({"sender_domain": ["example.org", "*.example.org"]}, True),
        ({"sender_domain": "*.example.or"}, False),
        ({"sender_domain": "newsXexample.org"}, False),
        ({"recipient_domain": "gmail.com"}, True),
        ({"account": "acme", "key": "billing"}, True),
        ({"account": "acme", "key": "other"}, False),
        ({"classification": "urgent"}, True),
        ({"tag": "otp-*"}, True),
        ({"tag": "otp"}, False),
        ({"stream": "bulk", "lane": "urgent"}, True),
        ({"min_size": 5000}, True),
        ({"min_size": 5001}, False),
        ({"max_size": 4999}, False),
        ({"min_size": 1, "max_size": 5000}, True),
    ],
)
def test_conditions(when, matches: bool) -> None:
    assert rule(**when).about(FACTS) is matches


def test_what_a_mail_does_not_have_matches_nothing() -> None:
    bare = Facts(1, "", "x@y.example")
    assert not rule(tag="*").about(bare)
    assert rule(sender="*").about(bare)


def test_the_first_rule_wins_and_the_default_is_last() -> None:
    first, second = Rule(1, RuleSettings(use="a", when={"tag": "x"})), rule("b", sender="*")
    router = Router([first, second], routes.parse("c"))
    assert router.order(Facts(1, tag="x")) == ("a",)
    assert router.order(Facts(1)) == ("b",)
    assert Router([first], routes.parse("c")).order(Facts(1)) == ("c",)


ROUTER = Router([], routes.parse("failover(a, b, c)"), switch_after=3)


def chosen(blocked: dict[str, Why] | None = None, tried: dict[str, Why] | None = None, history=FRESH):
    blocks = {name: Block(why, why.value) for name, why in (blocked or {}).items()}
    asked = {name: Block(why, why.value) for name, why in (tried or {}).items()}
    return ROUTER.choose(Facts(1), lambda name, _facts, _pinned: blocks.get(name), asked, history)


def test_the_first_that_can_takes_it() -> None:
    assert chosen().provider == "a"
    assert chosen({"a": Why.CIRCUIT}).provider == "b"
    assert chosen({"a": Why.PAUSED, "b": Why.RATE}).provider == "c"
    assert chosen(tried={"a": Why.CONFIG}).provider == "b"


def test_a_busy_provider_is_waited_for_and_a_stalled_one_is_not() -> None:
    assert (chosen({"a": Why.BUSY}).provider, chosen({"a": Why.BUSY}).waits_for) == (None, "a")
    assert chosen({"a": Why.DOMAIN}).provider is None
    assert chosen({"a": Why.STALLED}).provider == "b"


def test_where_nobody_can_it_waits_for_the_most_wanted_that_will() -> None:
    plan = chosen({"a": Why.PAUSED, "b": Why.CIRCUIT, "c": Why.QUOTA})
    assert (plan.provider, plan.waits_for) == (None, "a")
    assert chosen({"b": Why.CIRCUIT, "c": Why.QUOTA}, {"a": Why.REFUSES}).waits_for == "b"
    assert chosen(tried=dict.fromkeys("abc", Why.REFUSES)) == chosen(tried=dict.fromkeys("abc", Why.REFUSES))
    assert chosen(tried=dict.fromkeys("abc", Why.CONFIG)).waits_for is None


def line(kind: str, provider: str, **detail: str):
    return kind, provider, detail


RETRY = {"outcome": "retry"}


@pytest.mark.parametrize(
    ("lines", "provider", "switched_from"),
    [
        ([line("deferred", "a", **RETRY)] * 2, "a", None),
        ([line("deferred", "a", **RETRY)] * 3, "b", "a"),
        ([line("deferred", "a", **RETRY)] * 3 + [line("deferred", "b", **RETRY)], "b", None),
        ([line("deferred", name, **RETRY) for name in "aaabbb"], "c", "b"),
        ([line("deferred", name, **RETRY) for name in "aaabbbccc"], "a", "c"),
        ([line("deferred", "a", outcome="throttled")] * 9, "a", None),
        ([line("deferred", "a", outcome="config")], "b", "a"),
        ([line("switched", "a", why="config"), line("deferred", "b", **RETRY)], "b", None),
        ([line("ambiguous", "b")], "b", None),
        ([line("ambiguous", "a")] + [line("deferred", "a", **RETRY)] * 9, "a", None),
    ],
)
def test_what_earlier_tries_say(lines, provider: str, switched_from: str | None) -> None:
    history = ROUTER.history(lines)
    plan = chosen(history=history)
    assert plan.provider == provider
    away = switch_of(plan, history)
    assert (away[0] if away else None) == switched_from


def test_what_may_have_gone_out_is_repeated_by_the_same_provider_only() -> None:
    history = History({}, "b", "b")
    assert (chosen({"b": Why.CIRCUIT}, history=history).provider) is None
    assert chosen({"b": Why.CIRCUIT}, history=history).waits_for == "b"
    # One that is not configured any more can repeat nothing.
    plan = chosen({"b": Why.REMOVED}, history=history)
    assert plan.provider == "a"
    assert switch_of(plan, history)[1].why is Why.REMOVED


@given(
    blocked=st.dictionaries(st.sampled_from("abc"), st.sampled_from(Why)),
    tried=st.dictionaries(st.sampled_from("abc"), st.sampled_from([Why.CONFIG, Why.REFUSES, Why.CIRCUIT])),
    lines=st.lists(
        st.tuples(
            st.sampled_from(["deferred", "ambiguous", "switched"]),
            st.sampled_from("abc"),
            st.sampled_from([RETRY, {"outcome": "config"}, {"outcome": "throttled"}, {"why": "config"}]),
        ),
        max_size=12,
    ),
)
def test_a_plan_is_never_against_its_own_reasons(blocked, tried, lines) -> None:
    history = ROUTER.history(lines)
    plan = chosen(blocked, tried, history)
    assert plan == chosen(blocked, tried, history)
    if plan.provider is not None:
        assert plan.provider not in blocked
        pinned = history.pinned
        if pinned is None:
            assert plan.provider not in tried
        elif blocked.get(pinned) is not Why.REMOVED:
            assert plan.provider == pinned
    elif plan.waits_for is not None:
        assert plan.block is not None


def test_a_hint_picks_among_the_providers_of_the_route_and_adds_none() -> None:
    router = Router([], routes.parse("failover(a, b, c)"))
    assert router.order(Facts(1, hint="b")) == ("b", "a", "c")
    assert router.order(Facts(1, hint="a")) == ("a", "b", "c")
    assert router.order(Facts(1, hint="dear")) == ("a", "b", "c")
