"""Every link between documents leads somewhere, in the repository and on the site."""

import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "deploy/**/*.md", "providers/**/*.md")
    for path in ROOT.glob(pattern)
)

_CODE = re.compile(r"^ *```.*?^ *```|`[^`\n]*`", re.MULTILINE | re.DOTALL)
_FENCE = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")


def anchors(path: Path) -> set[str]:
    """As GitHub makes them: letters, digits, hyphens and blanks of a heading, a number after one that is there."""
    found: set[str] = set()
    for heading in re.findall(
        r"^#{1,6} (.+)$", _FENCE.sub("", path.read_text(encoding="utf-8")), re.MULTILINE
    ):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", plain.strip().lower()).replace(" ", "-")
        number, wanted = 0, slug
        while wanted in found:
            number += 1
            wanted = f"{slug}-{number}"
        found.add(wanted)
    return found


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(path: Path) -> None:
    wrong = []
    for target in _LINK.findall(_CODE.sub("", path.read_text(encoding="utf-8"))):
        if "://" in target or target.startswith("mailto:"):
            continue
        where, _, anchor = target.partition("#")
        there = (path.parent / where).resolve() if where else path
        if not there.exists() or (anchor and anchor not in anchors(there)):
            wrong.append(target)
    assert wrong == []


def test_a_heading_becomes_the_anchor_that_readers_know() -> None:
    found = anchors(ROOT / "docs" / "smtp.md")
    assert {"what-a-mail-may-ask-for", "php", "cron-and-anything-that-calls-sendmail"} <= found


def test_files_that_documents_name_exist() -> None:
    wrong = []
    for path in DOCUMENTS:
        prose = _FENCE.sub("", path.read_text(encoding="utf-8"))
        named = re.findall(r"`((?:relay|api|workers|providers|tests|deploy|docs)/[\w./-]*)`", prose)
        wrong += [f"{path.relative_to(ROOT)}: {one}" for one in named if not (ROOT / one).exists()]
        for module in re.findall(r"python -m (tests\.[\w.]+)", path.read_text(encoding="utf-8")):
            there = ROOT / module.replace(".", "/")
            if not (there.with_suffix(".py").exists() or (there / "__main__.py").exists()):
                wrong.append(f"{path.relative_to(ROOT)}: {module}")
    assert wrong == []


class References(HTMLParser):
    """What a page has a browser load."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag in {"script", "img", "iframe", "source"} and given.get("src"):
            self.loaded.append(given["src"] or "")
        if tag == "link" and given.get("rel") in {"stylesheet", "icon", "preload", "preconnect"}:
            self.loaded.append(given.get("href") or "")


def test_the_site_is_built_and_needs_no_other_host(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    pages = sorted(tmp_path.rglob("*.html"))
    assert len(pages) >= len(DOCUMENTS)
    for page in pages:
        read = References()
        read.feed(page.read_text(encoding="utf-8"))
        assert read.loaded
        assert [one for one in read.loaded if "//" in one] == [], page
    found = {
        one["title"]
        for one in json.loads((tmp_path / "search/search_index.json").read_text(encoding="utf-8"))["docs"]
    }
    assert {"Architecture", "Errors", "Adding a provider"} <= found


def test_every_document_is_on_the_site() -> None:
    listed = {str(page) for page in _pages(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"])}
    wanted = {
        "index.md" if path == ROOT / "README.md" else path.relative_to(ROOT).as_posix().removeprefix("docs/")
        for path in DOCUMENTS
    }
    assert listed == wanted


def _pages(node: object) -> list[object]:
    if isinstance(node, list):
        return [page for one in node for page in _pages(one)]
    return _pages(list(node.values())) if isinstance(node, dict) else [node]
