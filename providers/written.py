"""Mailboxes as vendors' JSON wants them: in Unicode, quoted where RFC 5322 says so."""

import re

from relay.core.address import Mailbox

_BARE = re.compile(r"[^\x00-\x1f\x7f()<>@,;:\\\".\[\]]*\Z")


def written(box: Mailbox) -> str:
    """`Name <address>` or the address alone."""
    if not box.name:
        return box.address
    if _BARE.match(box.name):
        return f"{box.name} <{box.address}>"
    quoted = box.name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{quoted}" <{box.address}>'


def named(box: Mailbox) -> dict[str, str]:
    """An object of `email` and, where there is one, `name`."""
    return {"email": box.address, "name": box.name} if box.name else {"email": box.address}
