"""Which files may be attached: by the name's extension, and by what the first octets give away.

Nothing is ever unpacked; an archive is told from a document by the name of its first entry alone.
"""

from collections.abc import Collection

from relay.core.filename import extension

#: octets of a file's beginning that `sniff` wants
OPENING = 512

_OFFICE = frozenset({"docx", "pptx", "xlsx"})
_OPEN_DOCUMENT = frozenset({"odb", "odf", "odg", "ods", "sxc", "sxd", "sxi", "sxw"})

_CONTENT_TYPES = {
    "asc": "application/pgp-encrypted",
    "avi": "video/x-msvideo",
    "bmp": "image/bmp",
    "csv": "text/csv",
    "dgn": "image/vnd.dgn",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "dwf": "model/vnd.dwf",
    "dwg": "image/vnd.dwg",
    "dxf": "image/vnd.dxf",
    "ent": "text/xml-external-parsed-entity",
    "gif": "image/gif",
    "jpeg": "image/jpeg",
    "jpg": "image/jpeg",
    "mpeg": "video/mpeg",
    "mpg": "video/mpeg",
    "mpp": "application/vnd.ms-project",
    "odb": "application/vnd.oasis.opendocument.database",
    "odf": "application/vnd.oasis.opendocument.formula",
    "odg": "application/vnd.oasis.opendocument.graphics",
    "ods": "application/vnd.oasis.opendocument.spreadsheet",
    "pdf": "application/pdf",
    "png": "image/png",
    "pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    "rtf": "application/rtf",
    "sxc": "application/vnd.sun.xml.calc",
    "sxd": "application/vnd.sun.xml.draw",
    "sxi": "application/vnd.sun.xml.impress",
    "sxw": "application/vnd.sun.xml.writer",
    "tif": "image/tiff",
    "tiff": "image/tiff",
    "txt": "text/plain",
    "wmv": "video/x-ms-wmv",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}

#: the contract's list
TYPES = tuple(_CONTENT_TYPES)

# What a file begins with, and what it is then; the first that fits counts.
_OPENINGS: tuple[tuple[bytes, str], ...] = (
    (b"%PDF-", "pdf"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpg"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"II*\0", "tif"),
    (b"MM\0*", "tif"),
    (b"{\\rtf", "rtf"),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "wmv"),
    (b"\0\0\1\xba", "mpg"),
    (b"\0\0\1\xb3", "mpg"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "compound"),
    (b"PK\3\4", "zip"),
    (b"PK\5\6", "zip"),
    (b"PK\7\x08", "zip"),
    (b"MZ", "exe"),
    (b"\x7fELF", "elf"),
    (b"\xfe\xed\xfa\xce", "macho"),
    (b"\xfe\xed\xfa\xcf", "macho"),
    (b"\xce\xfa\xed\xfe", "macho"),
    (b"\xcf\xfa\xed\xfe", "macho"),
    (b"\xca\xfe\xba\xbe", "macho"),
    (b"\0asm", "wasm"),
    (b"dex\n", "dex"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"Rar!\x1a\7", "rar"),
    (b"\x1f\x8b", "gz"),
    (b"BZh", "bz2"),
    (b"\xfd7zXZ\0", "xz"),
    (b"\x28\xb5\x2f\xfd", "zst"),
    (b"MSCF", "cab"),
    (b"ITSF", "chm"),
    (b"L\0\0\0\1\x14\2\0", "lnk"),
    (b"CWS", "swf"),
    (b"FWS", "swf"),
    (b"ZWS", "swf"),
    (b"!<arch>", "deb"),
    (b"ID3", "mp3"),
    (b"OggS", "ogg"),
    (b"fLaC", "flac"),
    (b"\x1aE\xdf\xa3", "mkv"),
)
#: office documents keep their extension's word: which of them it is lies deeper than we look
_OFFICE_ENTRIES = (b"[Content_Types].xml", b"_rels/", b"docProps/", b"word/", b"xl/", b"ppt/", b"customXml/")
#: what recognised contents may be called besides their own name
_ALIASES = {
    "jpg": frozenset({"jpeg"}),
    "tif": frozenset({"tiff", "dng"}),
    "mpg": frozenset({"mpeg"}),
    "wmv": frozenset({"asf", "wma"}),
    "office": _OFFICE,
    "opendocument": _OPEN_DOCUMENT | {"odt", "odp"},
    "compound": frozenset({"dgn", "mpp", "doc", "xls", "ppt", "msg"}),
}


def sniff(opening: bytes) -> str | None:
    """What the first octets are recognised as, or None: text and formats without a mark are not."""
    for mark, kind in _OPENINGS:
        if opening.startswith(mark):
            return _archive(opening) if kind == "zip" else kind
    if opening[:4] == b"RIFF":
        return {b"AVI ": "avi", b"WEBP": "webp", b"WAVE": "wav"}.get(opening[8:12])
    if opening[:2] == b"BM" and opening[6:10] == b"\0\0\0\0":
        return "bmp"
    if opening[4:8] == b"ftyp":
        return "mp4"
    return None


def _archive(opening: bytes) -> str:
    length = int.from_bytes(opening[26:28], "little")
    first = opening[30 : 30 + length]
    if first.startswith(_OFFICE_ENTRIES):
        return "office"
    if first == b"mimetype":
        content = opening[30 + length :]
        if content.startswith((b"application/vnd.oasis.opendocument.", b"application/vnd.sun.xml.")):
            return "opendocument"
    return "zip"


def allowed(name: str, opening: bytes, types: Collection[str]) -> bool:
    """Whether a file may be attached.

    Recognised contents must be of an allowed type, and a name's extension must be one, so that neither a program
    called `x.pdf` nor a document called `x.exe` passes. Recognised contents need no extension.
    """
    ending = extension(name)
    kind = sniff(opening)
    if kind is None:
        return ending in types
    names = _ALIASES.get(kind, frozenset()) | {kind}
    if kind in {"office", "opendocument", "compound"}:
        return ending in types and ending in names
    return not names.isdisjoint(types) and (not ending or ending in types)


def content_type(name: str) -> str:
    """The media type an extension stands for; the general one where it is not of the contract's."""
    return _CONTENT_TYPES.get(extension(name), "application/octet-stream")
