"""Makes a site of the documents wherever they lie in the repository; used by `mkdocs.yml`.

Pages outside of `docs/` keep their path on the site (the README is its first page), so links between documents work
in both places; links to code, which the site does not have, become plain text.
"""

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
#: documents outside of `docs/`, by where they are on the site
ELSEWHERE = {
    "index.md": "README.md",
    "ARCHITECTURE.md": "ARCHITECTURE.md",
    "CHANGELOG.md": "CHANGELOG.md",
    "CONTRIBUTING.md": "CONTRIBUTING.md",
    "deploy/README.md": "deploy/README.md",
    "providers/README.md": "providers/README.md",
    "providers/webhook/README.md": "providers/webhook/README.md",
}
_LINK = re.compile(r"(!?)\[((?:[^\]\\]|\\.)*)\]\(([^)\s]+)\)")
_FENCE = re.compile(r"(^```.*?^```[^\n]*$)", re.MULTILINE | re.DOTALL)


def on_files(files: Files, config: Any) -> Files:
    """Add the documents that lie elsewhere."""
    for here, there in ELSEWHERE.items():
        files.append(File.generated(config, here, abs_src_path=str(ROOT / there)))
    return files


def on_page_markdown(markdown: str, page: Any, files: Files, **_: Any) -> str:
    """Have links lead to where documents are on the site."""
    here = page.file.src_uri
    source = ELSEWHERE.get(here, f"docs/{here}")
    on_site = {there: where for where, there in ELSEWHERE.items()}

    def moved(found: re.Match[str]) -> str:
        picture, text, target = found.groups()
        if "://" in target or target.startswith(("#", "mailto:")):
            return found[0]
        path, sign, anchor = target.partition("#")
        there = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        where = on_site.get(there) or (there.removeprefix("docs/") if there.startswith("docs/") else None)
        if where is None or files.get_file_from_path(where) is None:
            return f"{picture}{text}"
        return f"{picture}[{text}]({posixpath.relpath(where, posixpath.dirname(here) or '.')}{sign}{anchor})"

    parts = _FENCE.split(markdown)
    return "".join(part if part.startswith("```") else _LINK.sub(moved, part) for part in parts)
