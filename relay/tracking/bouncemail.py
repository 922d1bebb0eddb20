"""Mail that reports on mail of ours: delivery reports, complaints, and bounces in no form at all.

What it says is believed only with a token of ours that nobody else can make: in the address it was sent to, or in
what it returns. Anybody can write a mail that looks like a bounce, and a bounce has addresses suppressed.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from relay.core import dsn
from relay.core.bounce import Bounce, BounceClass, BounceReason
from relay.core.bounces import classify
from relay.core.dsn import Mail
from relay.core.event import EventKind
from relay.core.provider import Report
from relay.core.reply import Reply
from relay.core.return_path import Home, ReturnPaths
from relay.tracking import bouncemail_words as words
from relay.tracking.bouncemail_words import Kind

#: characters of one value that is kept
_MOST = 1_000
#: fields in which a server notes where a mail was sent to
_SENT_TO = ("delivered-to", "x-original-to", "envelope-to", "x-envelope-to", "original-recipient", "to")

_KIND_OF_ACTION = {
    "failed": EventKind.BOUNCED,
    "failure": EventKind.BOUNCED,
    "error": EventKind.BOUNCED,
    "delayed": EventKind.DEFERRED,
    "delivered": EventKind.DELIVERED,
}
#: RFC 5965 7.3 and what is met beside it; what is not here is not about the recipient's wish (RFC 6591, DMARC)
_KIND_OF_FEEDBACK = {
    "abuse": EventKind.COMPLAINED,
    "fraud": EventKind.COMPLAINED,
    "complaint": EventKind.COMPLAINED,
    "opt-out": EventKind.UNSUBSCRIBED,
    "opt-out-list": EventKind.UNSUBSCRIBED,
}


def read(
    raw: bytes, *, envelope_to: str | None, received_at: datetime, paths: ReturnPaths
) -> Sequence[Report]:
    """What the mail tells about a mail of ours. Never raises, whatever `raw` is, and takes bounded time.

    `envelope_to` is the address it was sent to, where that is known. Nothing comes of what bears no good token of
    `paths` as of `received_at`, nor of automatic answers, read receipts (RFC 8098) and mails of people.
    """
    mail = dsn.take_apart(raw)
    home = _home(mail, envelope_to, received_at, paths)
    if home is None:
        return ()
    at = _moment(mail, received_at)
    kind = words.kind_of(mail)
    if kind is Kind.COMPLAINT:
        return _complaints(mail, home, at)
    if kind is Kind.REPORT:
        return _of_report(mail, home, at)
    if kind is Kind.BOUNCE:
        return [_of_text(mail, home, at)]
    if kind is Kind.ANSWER:
        return ()
    return [_report(mail, EventKind.UNKNOWN, home, at)]


# Whose it is.


def whose(raw: bytes, *, received_at: datetime, paths: ReturnPaths) -> Home | None:
    """Which mail of ours it is about, by the first good token that stands in it."""
    return _home(dsn.take_apart(raw), None, received_at, paths)


def is_ours(raw: bytes, *, received_at: datetime, paths: ReturnPaths) -> bool:
    """Whether the mail bears a good token of ours, wherever it came."""
    return whose(raw, received_at=received_at, paths=paths) is not None


def _home(mail: Mail, envelope_to: str | None, at: datetime, paths: ReturnPaths) -> Home | None:
    if envelope_to:
        try:
            return paths.read(envelope_to, at)
        except ValueError:
            pass
    return next(_homes(mail, at, paths), None)


def _homes(mail: Mail, at: datetime, paths: ReturnPaths) -> Iterator[Home]:
    for name in _SENT_TO:
        for value in mail.headers.all(name):
            yield from paths.find(value, at)
    for report in (*mail.statuses, *mail.feedback):
        for fields in dsn.blocks(report):
            try:
                yield paths.unseal(fields.get("original-envelope-id", ""), at)
            except ValueError:
                continue
        yield from paths.find(report, at)
    for returned in mail.returned:
        yield from paths.find(returned.decode("latin-1"), at)
    for text in mail.texts:
        yield from paths.find(text, at)


def _moment(mail: Mail, received_at: datetime) -> datetime:
    """When it was written, where that can be believed, else when it came."""
    try:
        written = parsedate_to_datetime(mail.headers.get("date"))
        written = written.replace(tzinfo=UTC) if written.tzinfo is None else written.astimezone(UTC)
    except (ValueError, TypeError, OverflowError, IndexError):
        return received_at
    return written if received_at - timedelta(days=7) <= written <= received_at else received_at


# What it says.


def _of_report(mail: Mail, home: Home, at: datetime) -> list[Report]:
    about, recipients = dsn.recipients([block for one in mail.statuses for block in dsn.blocks(one)])
    reports = [_of_recipient(mail, {**about, **fields}, home, at) for fields in recipients]
    # An alias with several mailboxes behind it is one address to us.
    return [_together(reports)] if home.recipient_id and len(reports) > 1 else reports


def _of_recipient(mail: Mail, fields: dict[str, str], home: Home, at: datetime) -> Report:
    status = words.status_in(fields.get("status", ""))
    action = fields.get("action", "").lower().partition(" ")[0].strip("().;")
    kind = _KIND_OF_ACTION.get(action)
    if kind is None and action not in {"relayed", "expanded"}:
        kind = {"2": EventKind.DELIVERED, "4": EventKind.DEFERRED, "5": EventKind.BOUNCED}.get(status[:1])
    address = dsn.typed(fields.get("original-recipient") or fields.get("final-recipient") or "")
    # OpenSMTPD writes no Diagnostic-Code, and calls what it has given up delayed (6.8.0p2).
    diagnostic = dsn.typed(fields.get("diagnostic-code", "")) or words.said_of(words.human(mail), address)
    if kind is EventKind.DEFERRED and diagnostic.lower() == "envelope expired":
        kind = EventKind.BOUNCED
    reply = words.reply_in(diagnostic, status)
    bounce = None
    if kind is EventKind.BOUNCED:
        said = " ".join(
            (
                diagnostic,
                fields.get("status", ""),
                fields.get("action", ""),
                fields.get("x400-supplementary-info", ""),
            )
        )
        bounce = classify(reply, said, status=status or None)
        if bounce.reason is BounceReason.OTHER:
            bounce = classify(reply, f"{said} {words.human(mail)}", status=status or None)
    return _report(
        mail,
        kind or EventKind.UNKNOWN,
        home,
        at,
        recipient=address,
        reply=reply,
        bounce=bounce,
        action=action,
        status=status,
        diagnostic=diagnostic,
        mta=dsn.typed(fields.get("remote-mta", "") or fields.get("reporting-mta", "")),
    )


def _together(reports: Sequence[Report]) -> Report:
    """One report for the mailboxes behind one address. It is dead only when all of them are."""
    bounced = [one for one in reports if one.kind is EventKind.BOUNCED]
    if not bounced:
        return reports[0]
    softer = [one for one in bounced if one.bounce is not None and one.bounce.kind is not BounceClass.HARD]
    if softer:
        return softer[0]
    if len(bounced) == len(reports):
        return bounced[0]
    first = bounced[0]
    return replace(first, bounce=first.bounce and replace(first.bounce, kind=BounceClass.SOFT))


def _of_text(mail: Mail, home: Home, at: datetime) -> Report:
    text = words.human(mail)
    subject = mail.headers.text("subject")
    status = words.status_in(text)
    reply = words.reply_in(text, status)
    recipient = words.recipient_in(mail, text)
    if words.only_delayed(subject, text):
        return _report(mail, EventKind.DEFERRED, home, at, recipient=recipient, reply=reply, status=status)
    bounce = classify(reply, status=status or None) if reply else Bounce(BounceClass.SOFT)
    if bounce.reason is BounceReason.OTHER:
        # What a server is quoted with is closer to the matter than what is said around it.
        bounce = classify(reply, text, status=status or None)
    if bounce.reason is BounceReason.OTHER and bounce.kind is BounceClass.SOFT:
        # Last, and only the part that is the server's: the rest is our own subject, which may say anything.
        bounce = classify(reply, words.said_in(subject), status=status or None)
    return _report(
        mail, EventKind.BOUNCED, home, at, recipient=recipient, reply=reply, bounce=bounce, status=status
    )


def _complaints(mail: Mail, home: Home, at: datetime) -> list[Report]:
    fields = {
        name: value for one in mail.feedback for block in dsn.blocks(one) for name, value in block.items()
    }
    feedback = fields.get("feedback-type", "abuse").lower().strip()
    kind = _KIND_OF_FEEDBACK.get(feedback)
    if kind is None:
        return []
    return [
        _report(
            mail,
            kind,
            home,
            at,
            recipient=dsn.typed(fields.get("original-rcpt-to", "")),
            feedback_type=feedback,
            mta=dsn.typed(fields.get("reporting-mta", "")),
            user_agent=fields.get("user-agent", ""),
            ip=fields.get("source-ip", ""),
        )
    ]


def _report(
    mail: Mail,
    kind: EventKind,
    home: Home,
    at: datetime,
    *,
    recipient: str = "",
    reply: Reply | None = None,
    bounce: Bounce | None = None,
    **detail: str,
) -> Report:
    headers = mail.headers
    told = "\0".join((headers.get("message-id"), headers.get("date"), recipient, kind.value))
    return Report(
        kind=kind,
        at=at,
        token=home.token,
        recipient=recipient[:320] if "@" in recipient else None,
        key="mail-" + hashlib.sha256(told.encode("utf-8", "replace")).hexdigest()[:32],
        reply=reply,
        bounce=bounce,
        detail={name: value[:_MOST] for name, value in detail.items() if value},
        original={
            name: headers.text(name)[:_MOST]
            for name in ("from", "subject", "message-id")
            if headers.has(name)
        },
    )
