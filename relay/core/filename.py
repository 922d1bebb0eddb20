"""Names of files: made harmless, and written into a header."""

import re
import unicodedata
from urllib.parse import quote

_MAX_OCTETS = 200
_LINE = 60
_DEVICES = frozenset(
    {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))}
)


def safe(name: str, number: int) -> str:
    """What may be shown as the name of the file at place `number`, counted from 1.

    No folders, no control or direction characters, nothing that a system takes for a device or hides, and at most
    200 octets of UTF-8, of which the extension is kept.
    """
    base = re.split(r"[/\\]", name)[-1]
    base = unicodedata.normalize("NFC", base.encode("utf-8", "replace").decode("utf-8"))
    base = "".join(char for char in base if unicodedata.category(char) not in {"Cc", "Cf", "Cs", "Zl", "Zp"})
    base = re.sub(r'[<>:"|?*]', "_", base).strip(" .")
    if not base:
        return f"attachment-{number}"
    stem, dot, extension = base.rpartition(".")
    if (stem or base).partition(".")[0].strip().lower() in _DEVICES:
        base = f"_{base}"
    if len(base.encode()) > _MAX_OCTETS:
        ending = f"{dot}{extension}" if dot and len(extension.encode()) <= 20 else ""
        kept = base.encode()[: _MAX_OCTETS - len(ending.encode())].decode("utf-8", "ignore")
        base = kept.rstrip(" .") + ending
    return base


def extension(name: str) -> str:
    """The text after the last dot in lower case; empty without one."""
    return name.rpartition(".")[2].lower() if "." in name else ""


def parameter(name: str, value: str) -> bytes:
    """A parameter of a header field, opened by its semicolon: quoted, or in the form of RFC 2231 (continued in
    lines of its own where it is long), which every reader of today knows.
    """
    if value.isascii() and value.isprintable() and len(value) <= _LINE:
        quoted = value.replace("\\", "\\\\").replace('"', '\\"')
        return f';\r\n {name}="{quoted}"'.encode()
    text = quote(value.encode(), safe="!#$&+-.^_`{}~")
    if len(text) <= _LINE:
        return f";\r\n {name}*=utf-8''{text}".encode()
    pieces = re.findall(rf"(?:%..|[^%]){{1,{_LINE // 3}}}", text)
    pieces[0] = "utf-8''" + pieces[0]
    return "".join(f";\r\n {name}*{index}*={piece}" for index, piece in enumerate(pieces)).encode()
