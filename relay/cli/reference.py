"""Every setting with its meaning, read from where it is defined, so that no list of them can be out of date.

A setting's meaning is the comment above or beside its field (`#:`), a table's the first lines of its docstring.
"""

import inspect
import json
import re
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from relay.config import PREFIX, Settings

_FIELD = re.compile(r"^    (\w+): [^#]*?(?:#: (.*))?$")


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: `path` as in the file, with `[]` behind what may be there several times."""

    path: tuple[str, ...]
    meaning: str
    kind: str
    #: as JSON would have it; None where there is none, or it is the absence of a value
    default: Any
    required: bool

    @property
    def variable(self) -> str | None:
        """The environment variable, where one value has one of its own."""
        if any(part.endswith("[]") or part == "*" for part in self.path):
            return None
        return PREFIX + "__".join(part.upper() for part in self.path)


@dataclass(frozen=True, slots=True)
class SettingsTable:
    """A table of the file with its settings, nested tables apart."""

    path: tuple[str, ...]
    meaning: str
    settings: tuple[Setting, ...]


def tables() -> list[SettingsTable]:
    """All tables, the file's top level first."""
    return list(_tables(Settings, ()))


def _tables(model: type[BaseModel], path: tuple[str, ...]) -> Iterator[SettingsTable]:
    meanings = _meanings(model)
    plain: list[Setting] = []
    nested: list[tuple[type[BaseModel], tuple[str, ...]]] = []
    for name, field in model.model_fields.items():
        inner, suffix = _model_in(field.annotation)
        if inner is not None:
            nested.append((inner, (*path, name + suffix)))
            continue
        plain.append(
            Setting(
                (*path, name),
                meanings.get(name, ""),
                _kind(field),
                _default(field),
                required=field.is_required(),
            )
        )
    summary = inspect.cleandoc(model.__doc__ or "").partition("\n\n")[0].replace("\n", " ")
    yield SettingsTable(path, summary, tuple(plain))
    for inner, where in nested:
        yield from _tables(inner, where)


def _model_in(annotation: Any) -> tuple[type[BaseModel] | None, str]:
    """The table that a field holds, and `[]` when it may hold several."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, ""
    for argument in get_args(annotation):
        if isinstance(argument, type) and issubclass(argument, BaseModel):
            return argument, "[]" if get_origin(annotation) in {tuple, list} else ""
    return None, ""


def _meanings(model: type[BaseModel]) -> dict[str, str]:
    """The comments of a model's own fields and of those it inherits."""
    found: dict[str, str] = {}
    for one in reversed(model.__mro__):
        if not (issubclass(one, BaseModel) and one.__module__.startswith("relay.")):
            continue
        above: list[str] = []
        for line in inspect.getsource(one).splitlines():
            text = line.strip()
            if text.startswith("#:"):
                above.append(text.removeprefix("#:").strip())
                continue
            field = _FIELD.match(line)
            if field and field[1] in one.model_fields:
                beside = [field[2]] if field[2] else []
                if above or beside:
                    found[field[1]] = " ".join(above + beside)
            if text:
                above = []
    return found


def _kind(field: FieldInfo) -> str:
    return _words(field.annotation)


def _words(annotation: Any) -> str:
    if annotation is None or annotation is type(None):
        return "nothing"
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " | ".join(f'"{one}"' for one in arguments)
    if origin in {Union, types.UnionType}:
        return " | ".join(_words(one) for one in arguments if one is not type(None))
    if origin in {tuple, list}:
        return f"list of {_words(arguments[0])}"
    if origin is dict or origin is Mapping:
        return "table"
    if origin is not None:
        return _words(arguments[0])
    names = {
        str: "text",
        Path: "path",
        SecretStr: "secret",
        bool: "true | false",
        int: "number",
        float: "number",
    }
    name: str = names.get(annotation) or getattr(annotation, "__name__", str(annotation)).lower()
    return name


def _default(field: FieldInfo) -> Any:
    value = field.get_default(call_default_factory=True) if not field.is_required() else None
    return _plain(value)


def _plain(value: Any) -> Any:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, tuple | list):
        return [_plain(one) for one in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    return str(value)


def as_environment() -> str:
    """All settings that the environment can give, each commented out at its default."""
    lines = [
        "# Settings by environment. What is commented out stands at its default; lists are JSON. Providers and",
        "# routes are easier to read in a file:",
        "#PILLARBOX_CONFIG=/etc/pillarbox/pillarbox.toml",
    ]
    for table in tables():
        named = [setting for setting in table.settings if setting.variable]
        if named:
            lines += ["", f"# {table.meaning}"]
        for setting in named:
            lines += [f"# {setting.meaning}", f"#{setting.variable}={_in_environment(setting.default)}"]
    return "\n".join(lines) + "\n"


def as_toml() -> str:
    """All settings as a file with every line commented out."""
    lines = ["# Every setting at its default. Uncomment what you change, the name of its table too."]
    for table in tables():
        if table.path:
            name = ".".join(part.removesuffix("[]") for part in table.path)
            head = f"[[{name}]]" if table.path[-1].endswith("[]") else f"[{name}]"
            lines += ["", f"# {table.meaning}", f"#{head}"]
        for setting in table.settings:
            value = "" if setting.default is None else _in_toml(setting.default)
            lines += ["", f"# {setting.meaning}", f"#{setting.path[-1]} = {value}".rstrip()]
    return "\n".join(lines) + "\n"


def as_markdown() -> str:
    """All settings as a page for people."""
    lines = [
        "# Settings",
        "",
        "Written by `pillarbox config reference`; do not edit by hand. The setting `name` of `[table]` in the file",
        "is `PILLARBOX_TABLE__NAME` in the environment, which wins over the file.",
    ]
    for table in tables():
        name = ".".join(part.removesuffix("[]") for part in table.path)
        if table.path:
            several = table.path[-1].endswith("[]")
            lines += ["", f"## `{'[[' if several else '['}{name}{']]' if several else ']'}`"]
        lines += ["", table.meaning]
        if table.settings:
            lines += ["", "| setting | kind | default | meaning |", "| --- | --- | --- | --- |"]
        for one in table.settings:
            default = (
                "required" if one.required else "" if one.default is None else f"`{_in_toml(one.default)}`"
            )
            cells = (f"`{one.path[-1]}`", one.kind, default, one.meaning)
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _in_environment(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)


def _in_toml(value: Any) -> str:
    # A JSON text, number, truth value or list of them is TOML too; an inline table is not.
    return "{}" if value == {} else json.dumps(value, ensure_ascii=False)


def metrics_as_markdown() -> str:
    """All metrics as a page for people."""
    from relay.observe import counts, metrics

    assert metrics.ACCEPTED in counts.REGISTRY
    lines = [
        "# Metrics",
        "",
        "Written by `pillarbox config metrics`; do not edit by hand. Prometheus reads them at `/metrics` of the REST",
        "door: under `pillarbox up` that page has the counts of all processes. A process that runs by itself answers",
        "at `metrics.port`. Who may read is said by `metrics.allow_from`.",
        "",
        "`deploy/prometheus` has a configuration and alerts, `deploy/grafana` a dashboard.",
        "",
        "| metric | kind | labels | meaning |",
        "| --- | --- | --- | --- |",
    ]
    for one in counts.REGISTRY:
        labels = ", ".join(f"`{label}`" for label in one.labels)
        lines.append(f"| `{one.name}` | {one.kind} | {labels} | {one.meaning} |")
    return "\n".join(lines) + "\n"
