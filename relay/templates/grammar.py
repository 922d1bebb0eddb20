"""What a template may say, and what its filters do.

Jinja2's sandbox keeps a template from reaching into the process, but not from using it up, and a thread cannot be
ended from outside. So the notation itself is made total: nothing is called, values are looked up in what was given
and nowhere else, no operator makes text longer, and every loop, filter and piece of output is paid for from the
budget of its rendering. What is not listed here is refused when the template is stored.
"""

import operator
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from jinja2 import StrictUndefined, nodes, pass_context
from jinja2.filters import FILTERS as _FILTERS
from jinja2.runtime import Context, LoopContext
from jinja2.sandbox import SandboxedEnvironment
from jinja2.tests import TESTS as _TESTS

from relay.core.errors import Unsendable

#: what one rendering may cost: characters made, and for each round of a loop `_STEP` and what is in it
BUDGET = 4 * 1024 * 1024
_STEP = 64
#: for each node of the syntax tree within a loop, at every round
_NODE = 8
#: for a list or an object that is compared or tested, and the characters of a text that cost one
_MANY = 1024
_COMPARED = 16
#: the variable that holds what is left of it; templates cannot name it
PURSE = "_purse"
#: nodes of a syntax tree, and how deep they may lie in one another
MAX_NODES = 6_000
MAX_DEPTH = 60
_MAX_NUMBER = 10**15


class BadTemplate(Unsendable):
    """The template cannot be used as it is."""


class Purse:
    """What is left of a rendering's budget."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = BUDGET

    def pay(self, cost: int) -> None:
        self.left -= cost
        if self.left < 0:
            raise BadTemplate(
                "The template makes too much of its variables: its loops or texts are too long."
            )


_ALLOWED: tuple[type[nodes.Node], ...] = (
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.Name, nodes.Const, nodes.Getattr, nodes.Getitem,
    nodes.If, nodes.For, nodes.Assign, nodes.Filter, nodes.Test, nodes.Compare, nodes.Operand, nodes.CondExpr,
    nodes.And, nodes.Or, nodes.Not, nodes.Add, nodes.Sub, nodes.Mul, nodes.Div, nodes.FloorDiv, nodes.Mod,
    nodes.Neg, nodes.Pos, nodes.Concat, nodes.List, nodes.Tuple,
)  # fmt: skip
_WORDS = {
    nodes.Call: "calls, such as name(...)",
    nodes.Pow: "the operator **",
    nodes.Slice: "slices, such as name[1:2]",
    nodes.Include: "include",
    nodes.Import: "import",
    nodes.FromImport: "import",
    nodes.Extends: "extends",
    nodes.Block: "block",
    nodes.Macro: "macro",
    nodes.CallBlock: "call",
    nodes.AssignBlock: "set with endset",
    nodes.FilterBlock: "filter with endfilter",
    nodes.With: "with",
    nodes.Dict: "dictionaries",
}


def check(tree: nodes.Template) -> tuple[frozenset[str], frozenset[str]]:
    """The names that the template cannot do without, and those that it asks for. Raises `BadTemplate`."""
    needed: set[str] = set()
    asked: set[str] = set()
    own: set[str] = {"loop"}
    waiting: list[tuple[nodes.Node, int, bool]] = [(tree, 0, False)]
    count = 0
    while waiting:
        node, depth, spared = waiting.pop()
        count += 1
        if count > MAX_NODES or depth > MAX_DEPTH:
            raise BadTemplate("The template is too large: it has too many parts, or they lie too deep.")
        _check_node(node)
        if isinstance(node, nodes.Name):
            if node.ctx != "load":
                own.add(node.name)
            else:
                (asked if spared else needed).add(node.name)
        # `name is defined` and `name | default(...)` are asked just in case.
        spared = (isinstance(node, nodes.Test) and node.name in {"defined", "undefined"}) or (
            isinstance(node, nodes.Filter) and node.name in {"default", "d"}
        )
        waiting.extend((child, depth + 1, spared) for child in node.iter_child_nodes())
    spare = {name for name in asked if name in needed}
    return frozenset(needed - own - spare), frozenset((asked | needed) - own)


def _check_node(node: nodes.Node) -> None:
    if not isinstance(node, _ALLOWED):
        what = _WORDS.get(type(node), type(node).__name__.lower())
        raise BadTemplate(f"Line {node.lineno}: templates do not know {what}.")
    if isinstance(node, nodes.Name) and (
        node.name.startswith("_") or (node.ctx != "load" and node.name == "loop")
    ):
        raise BadTemplate(f"Line {node.lineno}: {node.name[:64]} is no name for a variable.")
    if isinstance(node, nodes.For) and (node.recursive or not isinstance(node.target, nodes.Name)):
        raise BadTemplate(f"Line {node.lineno}: a loop goes over one list, with one variable.")
    if isinstance(node, nodes.Assign) and not isinstance(node.target, nodes.Name):
        raise BadTemplate(f"Line {node.lineno}: set gives a value to one variable.")
    # A list of lists of itself would be short to write and endless to compare.
    if isinstance(node, nodes.List | nodes.Tuple) and not all(
        isinstance(one, nodes.Const) for one in node.items
    ):
        raise BadTemplate(f"Line {node.lineno}: a list written in a template has only constants.")
    if isinstance(node, nodes.Filter) and (node.node is None or node.dyn_args or node.dyn_kwargs):
        raise BadTemplate(f"Line {node.lineno}: filters take their arguments one by one.")
    if isinstance(node, nodes.Const) and isinstance(node.value, int) and abs(node.value) > _MAX_NUMBER:
        raise BadTemplate(f"Line {node.lineno}: the number is too large.")


def bound(tree: nodes.Template) -> None:
    """Have loops, comparisons and joined texts pay their way."""
    for loop in list(tree.find_all(nodes.For)):
        cost = nodes.Const(_STEP + _NODE * sum(1 for _ in loop.find_all(nodes.Node)), lineno=loop.lineno)
        loop.iter = nodes.Filter(loop.iter, _ROUNDS, [cost], [], None, None, lineno=loop.lineno)
    _replace(tree)


def _replace(node: nodes.Node) -> None:
    for name, value in list(node.iter_fields()):
        if isinstance(value, list):
            value[:] = [_instead(node, one) for one in value]
        elif isinstance(value, nodes.Node):
            setattr(node, name, _instead(node, value))
    for child in node.iter_child_nodes():
        _replace(child)


def _instead(parent: nodes.Node, node: Any) -> Any:
    node = _joined(node)
    if isinstance(parent, nodes.Compare | nodes.Operand | nodes.Test) and isinstance(node, nodes.Expr):
        return nodes.Filter(node, _WEIGHED, [], [], None, None, lineno=node.lineno)
    return node


def _joined(node: Any) -> Any:
    if isinstance(node, nodes.Concat):
        first, *rest = node.nodes
        return nodes.Filter(first, _SIDE_BY_SIDE, rest, [], None, None, lineno=node.lineno)
    return node


class Environment(SandboxedEnvironment):
    """Looks values up in what was given: by key in mappings, by place in lists, and nowhere else."""

    intercepted_binops = frozenset({"+", "-", "*", "/", "//", "%", "**"})
    intercepted_unops = frozenset({"+", "-"})

    def __init__(self, *, autoescape: bool) -> None:
        super().__init__(
            autoescape=autoescape, undefined=StrictUndefined, finalize=_shown, optimized=False,
            keep_trailing_newline=True, cache_size=0,
        )  # fmt: skip
        self.globals.clear()
        self.filters.clear()
        self.filters.update(FILTERS)
        self.tests.clear()
        self.tests.update(TESTS)

    def getattr(self, obj: Any, attribute: str) -> Any:
        if isinstance(obj, LoopContext):
            return getattr(obj, attribute) if attribute in _LOOP else self.undefined(obj=obj, name=attribute)
        return self.getitem(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        if isinstance(obj, Mapping) and isinstance(argument, str) and argument in obj:
            return obj[argument]
        if isinstance(obj, list | tuple) and type(argument) is int and -len(obj) <= argument < len(obj):
            return obj[argument]
        return self.undefined(obj=obj, name=argument)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        _check_numbers(operator, left, right)
        return _checked_number(_OPERATORS[operator](left, right))

    def call_unop(self, context: Context, operator: str, arg: Any) -> Any:
        _check_numbers(operator, arg)
        return -arg if operator == "-" else arg


_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": operator.mod,
}
_LOOP = frozenset({"index", "index0", "revindex", "revindex0", "first", "last", "length"})


def _check_numbers(sign: str, *values: Any) -> None:
    if not all(isinstance(value, int | float) for value in values):
        raise BadTemplate(f"{sign} is for numbers; texts are written side by side, or joined by ~.")


def _checked_number(value: Any) -> Any:
    if not -_MAX_NUMBER <= value <= _MAX_NUMBER:
        raise BadTemplate("A number gets too large.")
    return value


def _shown(value: Any) -> Any:
    """What stands in the mail for a value. A list is nothing to read, and may be large beyond measure."""
    if value is None:
        return ""
    if isinstance(value, str | int | float | StrictUndefined):
        return value
    raise BadTemplate("A list cannot be shown as it is: go over it with for, or use join.")


def _purse(context: Context) -> Purse:
    purse: Purse = context.parent[PURSE]
    return purse


def _paid(name: str) -> Callable[..., Any]:
    """A filter of Jinja2's that pays for what it makes, and takes texts and numbers only."""
    work = _FILTERS[name]

    @pass_context
    def run(context: Context, value: Any, *arguments: Any, **named: Any) -> Any:
        _check_scalars(name, value, *arguments, *named.values())
        if getattr(work, "jinja_pass_arg", None) is not None:
            made = work(context.environment, value, *arguments, **named)
        else:
            made = work(value, *arguments, **named)
        _purse(context).pay(sum(len(text) for text in (value, made) if isinstance(text, str)) + 1)
        return made

    return run


def _check_scalars(name: str, *values: Any) -> None:
    for value in values:
        if isinstance(value, StrictUndefined):
            str(value)
        if not isinstance(value, str | int | float | None):
            raise BadTemplate(f"{name} is for texts and numbers.")


@pass_context
def _join(context: Context, value: Any, separator: str = "") -> Any:
    _check_list(value)
    _check_scalars("join", separator, *value)
    parts = ["" if one is None else str(one) for one in value]
    _purse(context).pay(sum(map(len, parts)) + len(separator) * len(parts))
    return separator.join(parts)


@pass_context
def _side_by_side(context: Context, *values: Any) -> Any:
    texts = []
    for value in values:
        _check_scalars("~", value)
        text = _FILTERS["escape"](_shown(value)) if context.eval_ctx.autoescape else str(_shown(value))
        _purse(context).pay(len(text))
        texts.append(text)
    return type(texts[0])("").join(texts)


@pass_context
def _rounds(context: Context, value: Any, cost: int) -> Iterator[Any]:
    _check_list(value)
    return _each(value, cost, _purse(context))


def _each(value: Any, cost: int, purse: Purse) -> Iterator[Any]:
    for one in value:
        purse.pay(cost)
        yield one


@pass_context
def _weighed(context: Context, value: Any) -> Any:
    """What is compared or tested, as it is: to look through something long takes its time."""
    if isinstance(value, str):
        _purse(context).pay(len(value) // _COMPARED)
    elif isinstance(value, list | tuple | Mapping):
        _purse(context).pay(_MANY)
    return value


def _check_list(value: Any) -> None:
    if isinstance(value, StrictUndefined):
        str(value)
    if not isinstance(value, list | tuple):
        raise BadTemplate("for and join go over lists.")


def _length(value: Any) -> int:
    if isinstance(value, StrictUndefined):
        str(value)
    if not isinstance(value, str | list | tuple | Mapping):
        raise BadTemplate("length is for texts and lists.")
    return len(value)


def _first(value: Any) -> Any:
    _check_list(value)
    return value[0] if value else ""


def _last(value: Any) -> Any:
    _check_list(value)
    return value[-1] if value else ""


def _round(value: Any, precision: int = 0, method: str = "common") -> Any:
    _check_numbers("round", value, precision)
    if not 0 <= precision <= 15 or not -_MAX_NUMBER <= value <= _MAX_NUMBER:
        raise BadTemplate("round is for 0 to 15 digits.")
    return _FILTERS["round"](value, precision, method)


def _int(value: Any, default: int = 0) -> int:
    _check_scalars("int", value)
    return int(
        _checked_number(_FILTERS["int"](str(value)[:40] if isinstance(value, str) else value, default))
    )


# No template can spell these: what they are called is no name in it.
_ROUNDS = "rounds!"
_SIDE_BY_SIDE = "side by side!"
_WEIGHED = "weighed!"
FILTERS: dict[str, Callable[..., Any]] = {
    **{
        name: _paid(name)
        for name in (
            "upper", "lower", "title", "capitalize", "trim", "truncate", "urlencode", "escape", "e", "safe",
            "string", "float", "abs", "striptags",
        )
    },
    **dict.fromkeys(("default", "d"), _FILTERS["default"]),
    "int": _int,
    "round": _round,
    "join": _join,
    "length": _length,
    "count": _length,
    "first": _first,
    "last": _last,
    _ROUNDS: _rounds,
    _SIDE_BY_SIDE: _side_by_side,
    _WEIGHED: _weighed,
}  # fmt: skip
_KNOWN_TESTS: dict[str, Any] = dict(_TESTS)
TESTS: dict[str, Callable[..., Any]] = {
    name: _KNOWN_TESTS[name]
    for name in (
        "defined", "undefined", "none", "string", "number", "boolean", "true", "false", "mapping", "sequence",
        "integer", "float", "odd", "even", "divisibleby", "lower", "upper", "in", "eq", "equalto", "ne", "lt",
        "le", "gt", "ge", "lessthan", "greaterthan", "==", "!=", "<", "<=", ">", ">=",
    )
}  # fmt: skip
