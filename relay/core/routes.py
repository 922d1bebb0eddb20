"""Route expressions: which providers a mail may take, and in which order.

    ses                                         one provider
    failover(ses, postmark)                     the first that can take it
    weighted(ses: 3, postmark: 1)               three quarters and one quarter; the same mail always the same way
    failover(weighted(a: 1, b: 1), office)      nested up to four deep

Pure: an expression becomes a tree, and a tree and a message id become an order of names.
"""

import hashlib
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

MAX_DEPTH = 4
MAX_WEIGHT = 1_000_000

_TOKEN = re.compile(r"\s*(?:([A-Za-z][A-Za-z0-9_-]*)|(\d+)|([(),:]))")
_MASK = (1 << 64) - 1


class BadExpression(ValueError):
    """What is wrong with an expression, and at which character (counted from 1)."""

    def __init__(self, at: int, reason: str) -> None:
        super().__init__(f"at character {at}: {reason}")
        self.at = at
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Use:
    """One provider. `at` is the character of the expression at which it is named."""

    name: str
    at: int = 1
    salt: int = 0

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Failover:
    """The first member that can take the mail."""

    members: "tuple[Node, ...]"

    def __str__(self) -> str:
        return f"failover({', '.join(map(str, self.members))})"


@dataclass(frozen=True, slots=True)
class Weighted:
    """Shares of the mail; a member that cannot take its share leaves it to the others."""

    members: "tuple[tuple[Node, int], ...]"
    salts: tuple[int, ...]

    def __str__(self) -> str:
        return f"weighted({', '.join(f'{member}: {weight}' for member, weight in self.members)})"


Node = Use | Failover | Weighted


def parse(text: str) -> Node:
    """The tree of an expression. Raises `BadExpression`."""
    return _Parser(text).whole()


def uses(node: Node) -> Iterator[Use]:
    """Every place that names a provider, from left to right."""
    if isinstance(node, Use):
        yield node
    elif isinstance(node, Failover):
        for member in node.members:
            yield from uses(member)
    else:
        for member, _ in node.members:
            yield from uses(member)


def order(node: Node, key: int) -> tuple[str, ...]:
    """The providers for the mail with this id, most wanted first, each once.

    A share is a matter of the id alone (weighted rendezvous hashing), so a mail keeps its way from try to try, and
    a change of one weight moves only the mail that it has to.
    """
    if isinstance(node, Use):
        return (node.name,)
    return tuple(dict.fromkeys(_names(node, key)))


def fixed(node: Node) -> tuple[str, ...] | None:
    """The order, where it is the same for every mail."""
    return order(node, 0) if not _shared(node) else None


def _shared(node: Node) -> bool:
    if isinstance(node, Failover):
        return any(_shared(member) for member in node.members)
    return isinstance(node, Weighted)


def _names(node: Node, key: int) -> Iterator[str]:
    if isinstance(node, Use):
        yield node.name
    elif isinstance(node, Failover):
        for member in node.members:
            yield from _names(member, key)
    else:
        scored = sorted(
            (
                (-weight / math.log(_fraction(key ^ salt)), place)
                for place, (salt, (_, weight)) in _places(node)
            ),
            reverse=True,
        )
        for _, place in scored:
            yield from _names(node.members[place][0], key)


def _places(node: Weighted) -> Iterator[tuple[int, tuple[int, tuple[Node, int]]]]:
    return enumerate(zip(node.salts, node.members, strict=True))


def _fraction(number: int) -> float:
    """A number as good as random between 0 and 1, both excluded (the finalizer of splitmix64)."""
    number = (number + 0x9E3779B97F4A7C15) & _MASK
    number = ((number ^ (number >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    number = ((number ^ (number >> 27)) * 0x94D049BB133111EB) & _MASK
    number ^= number >> 31
    return ((number >> 11) + 0.5) / (1 << 53)


def _salt(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens: list[tuple[str, int]] = []
        place = 0
        while rest := text[place:].strip():
            found = _TOKEN.match(text, place)
            if found is None:
                at = len(text) - len(text[place:].lstrip()) + 1
                raise BadExpression(at, f"{rest[0]!r} has no place here")
            self._tokens.append((found[0].strip(), found.end() - len(found[0].strip()) + 1))
            place = found.end()
        self._next = 0

    def whole(self) -> Node:
        if not self._tokens:
            raise BadExpression(1, "is empty; name a provider")
        node = self._node(1)
        if self._next < len(self._tokens):
            word, at = self._tokens[self._next]
            raise BadExpression(at, f"{word!r} is too much; the expression ends before it")
        return node

    def _peek(self) -> str:
        return self._tokens[self._next][0] if self._next < len(self._tokens) else ""

    def _take(self, wanted: str) -> tuple[str, int]:
        if self._next == len(self._tokens):
            raise BadExpression(len(self._text) + 1, f"{wanted} is missing")
        self._next += 1
        return self._tokens[self._next - 1]

    def _node(self, depth: int) -> Node:
        word, at = self._take("a provider")
        if not word[0].isalpha():
            raise BadExpression(at, f"{word!r} where a provider should be named")
        if self._peek() != "(":
            return Use(word, at)
        if word not in {"failover", "weighted"}:
            raise BadExpression(at, f"{word!r} is not a way to choose; use failover(...) or weighted(...)")
        if depth > MAX_DEPTH:
            raise BadExpression(at, f"nested more than {MAX_DEPTH} deep")
        self._take("'('")
        members: list[tuple[Node, int]] = []
        while True:
            member = self._node(depth + 1)
            members.append((member, self._weight(word)))
            sign, where = self._take("')'")
            if sign == "," and self._peek() == ")":
                sign, where = self._take("')'")
            if sign == ")":
                break
            if sign != ",":
                raise BadExpression(where, f"{sign!r} where ',' or ')' should be")
        nodes = tuple(node for node, _ in members)
        if word == "failover":
            return Failover(nodes)
        return Weighted(tuple(members), tuple(_salt(f"{node}") for node in nodes))

    def _weight(self, word: str) -> int:
        if self._peek() != ":":
            return 1
        _, at = self._take("':'")
        if word != "weighted":
            raise BadExpression(at, "only weighted(...) has weights")
        number, at = self._take("a weight")
        if not number.isdigit() or not 0 < int(number) <= MAX_WEIGHT:
            raise BadExpression(at, f"{number!r} is no weight; give a whole number from 1 to {MAX_WEIGHT}")
        return int(number)
