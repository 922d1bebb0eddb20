"""Attached files: from a form, or in base64 within JSON; how many, how large, of what type."""

import binascii
from collections.abc import Sequence
from typing import Any

from api.nomsa.spool import Spool, Upload
from relay.core import filename, filetype
from relay.core.compose import File
from relay.core.errors import AttachmentFormat, TooLarge, UnsupportedFile
from relay.sections import AttachmentSettings

_BLOCK = 256 * 1024
_BLANKS = str.maketrans("", "", " \t\r\n")


def decode(items: Sequence[Any], spool: Spool, settings: AttachmentSettings) -> list[Upload]:
    """The files of a checked `attachments` field. Raises `AttachmentFormat` for objects that describe no file."""
    uploads: list[Upload] = []
    left = settings.max_total
    for item in items:
        if isinstance(item, Upload):
            uploads.append(item)
            continue
        upload = _decode_one(item, spool, left)
        left = max(0, left - upload.size)
        uploads.append(upload)
    return uploads


def _decode_one(item: dict[str, Any], spool: Spool, most: int) -> Upload:
    name, content = item.get("filename"), item.get("content")
    if (
        not isinstance(name, str)
        or not isinstance(content, str)
        or item.keys() - {"filename", "content", "content_type"}
        or not isinstance(item.get("content_type", ""), str)
    ):
        raise AttachmentFormat
    try:
        data = binascii.a2b_base64(content.translate(_BLANKS), strict_mode=True)
    except ValueError:
        raise AttachmentFormat("Attachments in JSON need a filename and their content in base64") from None
    upload = Upload(spool, name, most)
    for start in range(0, len(data), _BLOCK):
        upload.write(data[start : start + _BLOCK])
    return upload


def check_size(uploads: Sequence[Upload], settings: AttachmentSettings) -> None:
    """Raises `TooLarge` for more or larger files than are allowed."""
    if settings.max_count and len(uploads) > settings.max_count:
        raise TooLarge("Number of attachments exceeds limit")
    if settings.max_file and any(upload.size > settings.max_file for upload in uploads):
        raise TooLarge("Size of one or more attachments exceeds limit")
    if sum(upload.size for upload in uploads) > settings.max_total:
        if len(uploads) == 1:
            raise TooLarge("Size of one or more attachments exceeds limit")
        raise TooLarge("Cumulative attachment size exceeds limit")


def check_type(uploads: Sequence[Upload], settings: AttachmentSettings) -> None:
    """Raises `UnsupportedFile` when one is of a type that is not allowed; the whole mail is refused with it."""
    if not all(filetype.allowed(upload.name, upload.opening, settings.types) for upload in uploads):
        raise UnsupportedFile


def files(uploads: Sequence[Upload]) -> list[File]:
    return [
        File(filename.safe(upload.name, number), filetype.content_type(upload.name), upload.content)
        for number, upload in enumerate(uploads, 1)
    ]


def metadata(uploads: Sequence[Upload]) -> list[dict[str, Any]] | None:
    """The contract's `attachments_metadata`, keys in the order in which the reference server's database has them."""
    return [
        {"hash": upload.md5, "fileName": filename.safe(upload.name, number), "fileSize": upload.size}
        for number, upload in enumerate(uploads, 1)
    ] or None
