"""What all documents say of settings, commands and JSON is right; what they show running has tests of its own."""

import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from providers import registry
from relay import config
from relay.cli import pages, reference

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "deploy/**/*.md", "providers/**/*.md")
    for path in ROOT.glob(pattern)
)

#: what stands for something of the reader's own
_PLACEHOLDER = re.compile(r"<[^>]*>|\.\.\.|…")
_FENCE = re.compile(r"^( *)```(\w+)[^\n]*\n(.*?)^ *```", re.MULTILINE | re.DOTALL)


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def blocks(*languages: str) -> list[tuple[str, str]]:
    """Every snippet in one of the languages, with the document it stands in."""
    return [
        (name(path), found[3])
        for path in DOCUMENTS
        for found in _FENCE.finditer(path.read_text(encoding="utf-8"))
        if found[2] in languages
    ]


def identifiers(snippets: list[tuple[str, str]]) -> list[str]:
    return [f"{document}-{number}" for number, (document, _) in enumerate(snippets)]


@pytest.mark.parametrize(("document", "text"), blocks("toml"), ids=identifiers(blocks("toml")))
def test_configuration_is_accepted(document: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if "[project" in text:
        return  # a package's own pyproject.toml
    text = re.sub(r"file:/[\w./-]+", "env:FROM_A_FILE", text)
    for variable in re.findall(r"env:([A-Z_]+)", text):
        monkeypatch.setenv(variable, "x")
    if "[[ingest.mailboxes]]" in text and "bounce_domain" not in text:
        # Such a snippet goes on from the one before it.
        text = '[ingest]\nbounce_domain = "bounce.example.org"\n' + text
    settings = config.parse(text)
    registry.build(config.provider_options(settings))


@pytest.mark.parametrize(("document", "text"), blocks("json"), ids=identifiers(blocks("json")))
def test_json_is_json(document: str, text: str) -> None:
    json.loads(text)


def _joined(text: str) -> Iterator[str]:
    """The lines of a shell snippet, continued ones as one."""
    yield from text.replace("\\\n", " ").splitlines()


def commands() -> list[tuple[str, str]]:
    found = []
    for document, text in blocks("sh", "console"):
        for line in _joined(text):
            for command in re.split(r"\s*(?:\||;|&&)\s*|\$\(", line):
                told = re.match(r"(?:\$ |\S*/bin/)?(pillarbox(?: .*)?)$", command.strip())
                if told:
                    found.append((document, told[1]))
    for path in DOCUMENTS:
        prose = _FENCE.sub("", path.read_text(encoding="utf-8"))
        found += [(name(path), one.replace("\n", " ")) for one in re.findall(r"`(pillarbox [^`]*)`", prose)]
    return list(dict.fromkeys(found))


def test_commands_exist_with_their_options() -> None:
    """What a snippet runs is looked at word by word, so that no option of it can be one of another time."""
    from relay.cli.app import app

    root = typer.main.get_command(app)
    wrong = []
    told = commands()
    assert len(told) > 80
    for document, line in told:
        try:
            words = shlex.split(_PLACEHOLDER.sub("X", line), comments=True)[1:]
        except ValueError:
            words = line.split()[1:]
        command, options = root, {"--help": True, "--version": True}
        rest = iter(words)
        for word in rest:
            inner = getattr(command, "commands", None)
            bare = word.rstrip(",.:;")
            flag, given, _ = bare.partition("=")
            if bare.startswith("-") and bare != "-":
                if flag not in options:
                    wrong.append(f"{document}: {line}: no option {word}")
                    break
                if not options[flag] and not given:
                    next(rest, None)
            elif inner is not None and bare in inner:
                command = inner[bare]
                options |= {
                    flag: one.is_flag
                    for one in command.params
                    if one.param_type_name == "option"
                    for flag in (*one.opts, *one.secondary_opts)
                }
            elif inner is not None and bare.isidentifier() and bare.islower():
                wrong.append(f"{document}: {line}: no command {word}")
                break
    assert wrong == []


def test_settings_named_in_documents_exist() -> None:
    known: set[str] = set()
    tops: set[str] = set()
    for table in reference.tables():
        path = tuple(part.removesuffix("[]") for part in table.path)
        known.add(".".join(path))
        if path:
            tops.add(path[0])
        known |= {".".join((*path, setting.path[-1])) for setting in table.settings}
    tops -= {"providers", "routes"}  # these have names of the operator's own
    wrong = []
    for path in DOCUMENTS:
        said = re.findall(r"`([a-z_]+(?:\.[a-z_]+)+)(?: = [^`]*)?`", path.read_text(encoding="utf-8"))
        wrong += [
            f"{name(path)}: {one}"
            for one in said
            if one.partition(".")[0] in tops and one not in known and not one.endswith((".py", ".toml"))
        ]
    assert sorted(set(wrong)) == []


def test_extras_that_documents_name_exist() -> None:
    known = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
    named = {
        extra.strip()
        for path in DOCUMENTS
        for told in re.findall(r"pillarbox\[([\w, ]+)\]", path.read_text(encoding="utf-8"))
        for extra in told.split(",")
    }
    assert {"postgres", "fast"} <= named <= known


def test_variables_that_documents_name_exist() -> None:
    known = {one.variable for table in reference.tables() for one in table.settings}
    # These are no settings: where the file is, and what the examples call a key and a place.
    known |= {"PILLARBOX_CONFIG", "PILLARBOX_API_KEY", "PILLARBOX_URL", "PILLARBOX_TABLE__NAME"}
    named = {
        found
        for path in DOCUMENTS
        for found in re.findall(r"\bPILLARBOX_[A-Z_]*[A-Z]\b", path.read_text(encoding="utf-8"))
    }
    assert named - known == set()


def test_the_reference_knows_groups_that_do_something_by_themselves() -> None:
    words = [one for one, _ in pages.commands()]
    assert {"up", "keys create", "providers webhooks", "config errors"} <= set(words)
    assert len(words) == len(set(words))
