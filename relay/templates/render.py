"""A template as it is stored becomes a mail's subject and bodies."""

import asyncio
import re
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jinja2

from relay.templates.grammar import PURSE, BadTemplate, Environment, Purse, bound, check

#: characters of a subject's source, and of a body's
MAX_SUBJECT_SOURCE = 2_000
MAX_SOURCE = 256 * 1024
#: variables and statements in it
MAX_PLACES = 2_000
#: characters of what is made of them
MAX_SUBJECT = 2_000
MAX_BODY = 1024 * 1024
#: variables of one mail: names, characters of all texts, values, and how deep they lie
MAX_VARIABLES = 200
MAX_CHARACTERS = 64 * 1024
MAX_VALUES = 5_000
MAX_DEPTH = 10
#: characters of the sources of templates that a process remembers; what is made of them is some times as large
_REMEMBERED = 2 * 1024 * 1024
#: what even a short one counts for
_AT_LEAST = 8 * 1024

_PLAIN = Environment(autoescape=False)
_HTML = Environment(autoescape=True)
# What would end a header field, or be no character of one.
_UNPRINTED = re.compile(r"[ \t]*[\x00-\x1f\x7f-\x9f\u2028\u2029]+[ \t]*")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}\Z")
_UNDEFINED = re.compile(r"'([^']+)' is undefined|.* has no \w+ '?([^']+)'?")
_PLACES = ("subject", "html", "text")


@dataclass(frozen=True, slots=True)
class Source:
    """A template as it is written. At least one of `html` and `text` is there."""

    subject: str
    html: str | None = None
    text: str | None = None


@dataclass(frozen=True, slots=True)
class Rendered:
    """What goes out; the subject is one line."""

    subject: str
    html: str | None
    text: str | None


def is_name(text: str) -> bool:
    """Whether a variable may be called that: 1 to 64 letters, digits and underscores, a letter first."""
    return _NAME.match(text) is not None and text != "loop"


def check_variables(variables: Mapping[str, Any]) -> None:
    """Raises `BadTemplate` for what is too much, or nothing that JSON could say."""
    if len(variables) > MAX_VARIABLES:
        raise BadTemplate(f"A mail has at most {MAX_VARIABLES} variables.")
    for name in variables:
        if not is_name(name):
            raise BadTemplate(f"{name[:64]!r} is no name for a variable.")
    characters = values = 0
    waiting: list[tuple[Any, int]] = [(one, 0) for one in variables.values()]
    while waiting:
        value, depth = waiting.pop()
        values += 1
        if isinstance(value, str):
            characters += len(value)
            if "\0" in value:
                raise BadTemplate("Variables must not contain NUL.")
        elif isinstance(value, Mapping):
            waiting.extend((one, depth + 1) for one in value.values())
            characters += sum(len(str(key)) for key in value)
        elif isinstance(value, list):
            waiting.extend((one, depth + 1) for one in value)
        elif not isinstance(value, int | float | None):
            raise BadTemplate("Variables are texts, numbers, true, false, null, lists and objects.")
        if characters > MAX_CHARACTERS or values > MAX_VALUES or depth > MAX_DEPTH:
            raise BadTemplate(f"The variables of a mail are at most {MAX_CHARACTERS} characters together.")


class Template:
    """A template that was found to be in order. Rendering costs a bounded amount of work, whatever it says."""

    def __init__(self, source: Source) -> None:
        """Raises `BadTemplate`, naming the place."""
        if source.html is None and source.text is None:
            raise BadTemplate('A template needs one of "html" and "text".')
        needed: set[str] = set()
        asked: set[str] = set()
        self._parts: dict[str, jinja2.Template] = {}
        for place in _PLACES:
            written = getattr(source, place)
            if written is not None:
                self._parts[place], needs, asks = _compiled(place, written)
                needed |= needs
                asked |= asks
        #: variables it cannot do without, and all that it asks for
        self.needed = frozenset(needed)
        self.asked = frozenset(asked)

    def render(self, variables: Mapping[str, Any]) -> Rendered:
        """Raises `BadTemplate` for what cannot be made of these variables; they have been checked."""
        purse = Purse()
        found: dict[str, str | None] = {"html": None, "text": None}
        for place, template in self._parts.items():
            found[place] = _run(place, template, variables, purse)
        subject = _UNPRINTED.sub(" ", found["subject"] or "").strip()
        if not subject:
            raise BadTemplate("subject: is empty")
        if len(subject) > MAX_SUBJECT:
            raise BadTemplate(f"subject: is longer than {MAX_SUBJECT} characters")
        if not (found["html"] or "").strip() and not (found["text"] or "").strip():
            raise BadTemplate("the mail is empty")
        return Rendered(subject, found["html"], found["text"])


class _Remembered:
    """The templates that were used last, as far as their sources are no longer than `_REMEMBERED` together."""

    def __init__(self) -> None:
        self._found: OrderedDict[Source, Template] = OrderedDict()
        self._characters = 0
        self._lock = threading.Lock()

    def get(self, source: Source) -> Template:
        with self._lock:
            found = self._found.get(source)
            if found is not None:
                self._found.move_to_end(source)
                return found
        found = Template(source)
        with self._lock:
            if self._found.setdefault(source, found) is found:
                self._characters += _length(source)
            while self._characters > _REMEMBERED and len(self._found) > 1:
                self._characters -= _length(self._found.popitem(last=False)[0])
        return found


def _length(source: Source) -> int:
    return _AT_LEAST + len(source.subject) + len(source.html or "") + len(source.text or "")


_remembered = _Remembered()


def load(source: Source) -> Template:
    """`Template`, remembered. Takes up to a second the first time."""
    return _remembered.get(source)


async def fill(source: Source, variables: Mapping[str, Any]) -> Rendered:
    """The template's `Template.render`, beside the event loop: it takes up to a second, whoever wrote it."""
    return await asyncio.to_thread(lambda: load(source).render(variables))


def _compiled(place: str, written: str) -> tuple[jinja2.Template, frozenset[str], frozenset[str]]:
    most = MAX_SUBJECT_SOURCE if place == "subject" else MAX_SOURCE
    if len(written) > most:
        raise BadTemplate(f"{place}: is longer than {most} characters")
    if "\0" in written:
        raise BadTemplate(f"{place}: must not contain NUL")
    if written.count("{{") + written.count("{%") > MAX_PLACES:
        raise BadTemplate(f"{place}: has more than {MAX_PLACES} places to be filled")
    environment = _HTML if place == "html" else _PLAIN
    try:
        tree = environment.parse(written)
        needed, asked = check(tree)
        bound(tree)
        code = environment.compile(tree)
    except BadTemplate as error:
        raise BadTemplate(f"{place}: {error.message}") from None
    except jinja2.TemplateSyntaxError as error:
        raise BadTemplate(f"{place}: line {error.lineno}: {str(error.message)[:200]}") from None
    except (RecursionError, MemoryError, SyntaxError, ValueError, OverflowError):
        raise BadTemplate(f"{place}: its parts lie too deep in one another") from None
    return environment.template_class.from_code(environment, code, {}, None), needed, asked


def _run(place: str, template: jinja2.Template, variables: Mapping[str, Any], purse: Purse) -> str:
    pieces: list[str] = []
    length = 0
    context = template.new_context({**variables, PURSE: purse})
    # Only what a mail was given can be looked up.
    try:
        for piece in template.root_render_func(context):
            pieces.append(piece)
            length += len(piece)
            purse.pay(len(piece) + 1)
            if length > MAX_BODY:
                raise BadTemplate(f"becomes longer than {MAX_BODY} characters")
    except BadTemplate as error:
        raise BadTemplate(f"{place}: {error.message}") from None
    except jinja2.UndefinedError as error:
        raise BadTemplate(f"{place}: {_plainly(str(error.message))}") from None
    except ZeroDivisionError:
        raise BadTemplate(f"{place}: divides by zero") from None
    except Exception:
        # Types that do not go together, in words of Python's own.
        raise BadTemplate(f"{place}: the template does not suit these variables") from None
    return "".join(pieces)


def _plainly(message: str) -> str:
    named = _UNDEFINED.match(message)
    name = (named[1] or named[2]) if named else None
    return f"there is no variable {name[:64]}" if name else "a variable is not there"
