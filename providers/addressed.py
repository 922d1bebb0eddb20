"""For providers that write to whom the header fields name: make those fields say exactly who is to get the mail."""

from relay.core import mime
from relay.core.address import InvalidAddress, Mailbox, parse_mailboxes
from relay.core.provider import Outgoing

_NAMING = frozenset({b"to", b"cc", b"bcc"})
_RESENT = frozenset({b"resent-to", b"resent-cc", b"resent-bcc"})


def addressed(mail: Outgoing) -> bytes:
    """The mail with our token, a Bcc for recipients that no field names, and nobody named who is not a recipient.

    A mail is sent again to one of its recipients, or relayed to some of those it names, and the others must not
    get it from here. Where nobody is too many, To and Cc stay as they are.
    """
    cut = mime.split_head(mail.raw)
    head, body = mail.raw[:cut], mail.raw[cut:]
    if not cut:
        body = b"\r\n" + body
    fields = mime.scan(head)
    wanted = {one.address.lower(): one.address for one in mail.recipients}
    named: set[str] = set()
    surplus = False
    kept: dict[bytes, list[Mailbox]] = {b"to": [], b"cc": []}
    for field in fields:
        if field.name not in kept:
            continue
        try:
            boxes = parse_mailboxes(mime.value(head, field))
        except InvalidAddress:
            surplus = True
            continue
        for box in boxes:
            if box.address.lower() in wanted and box.address.lower() not in named:
                named.add(box.address.lower())
                kept[field.name].append(box)
            else:
                surplus = True
    gone = _RESENT | (_NAMING if surplus else frozenset({b"bcc"}))
    head = mime.without(head, fields, gone)
    lines = [f"X-Pillarbox-Token: {mail.token}\r\n".encode()]
    if surplus:
        lines += [mime.address_header(name.decode().title(), boxes) for name, boxes in kept.items() if boxes]
    blind = [Mailbox("", address) for key, address in wanted.items() if key not in named]
    if blind:
        lines.append(mime.address_header("Bcc", blind))
    return b"".join((*lines, head, body))
