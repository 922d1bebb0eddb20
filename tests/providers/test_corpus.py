"""Mails of all shapes through every provider that takes parts, and what arrives compared part by part.

What is in a mail is told by the standard library's parser, which shares no code with ours.
"""

import asyncio
import email
import email.policy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from providers.api import ApiProvider
from providers.azure import Azure
from providers.brevo import Brevo
from providers.mailersend import MailerSend
from providers.mailjet import Mailjet
from providers.mailtrap import Mailtrap
from providers.postmark import Postmark
from providers.resend import Resend
from providers.sendgrid import SendGrid
from relay.core.parts import Parts, Unsayable, take_apart
from relay.core.provider import Outcome, OutcomeKind, Outgoing
from relay.testing import assert_same_content, outgoing
from tests.providers.fakery import FakeServer

CORPUS = sorted((Path(__file__).parent / "corpus").glob("*.eml"))


def raw_of(path: Path) -> bytes:
    """Kept with LF, sent with CRLF."""
    return path.read_bytes().replace(b"\n", b"\r\n")


#: no provider that takes parts can be told these, and why
UNSAYABLE = {
    "signed": "signed",
    "encrypted": "S/MIME",
    "report": "report",
    "no-from": "no From",
    "several-authors": "several authors",
}
#: every one of these vendors wants a text
EMPTY = "empty-body"


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_nothing_of_a_mail_is_lost(path: Path) -> None:
    raw = raw_of(path)
    if path.stem in UNSAYABLE:
        with pytest.raises(Unsayable, match=UNSAYABLE[path.stem]):
            take_apart(raw)
        return
    parts = take_apart(raw)
    assert_everything_is_there(parts, raw)


def assert_everything_is_there(parts: Parts, raw: bytes) -> None:
    """Every leaf that the standard library finds is a text, an alternative or an attachment, and once only."""
    message = email.message_from_bytes(raw, policy=email.policy.default)
    left = [one.content for one in parts.attachments]
    texts = [
        text
        for text in (parts.text, parts.html, *(text for _, text in parts.alternatives))
        if text is not None
    ]
    for leaf in leaves(message):
        content = leaf.get_payload(decode=True)
        if leaf.get_content_type() == "message/rfc822":
            inner = leaf.get_payload(0)
            (found,) = [one for one in left if b"Subject: " + inner["subject"].encode() in one]
            left.remove(found)
            continue
        assert isinstance(content, bytes)
        if content in left:
            left.remove(content)
            continue
        charset = leaf.get_content_charset() or "utf-8"
        text = content.decode("utf-8" if charset == "x-martian" else charset).replace("\r\n", "\n")
        assert text in texts, (leaf.get_content_type(), text)
        texts.remove(text)
    assert (left, texts) == ([], [])
    assert parts.subject == (message["subject"] or "")
    for name, value in parts.headers:
        assert value in [" ".join(str(given).split()) for given in message.get_all(name)]


def leaves(message: Any) -> list[Any]:
    if message.get_content_type() == "message/rfc822" or not message.is_multipart():
        return [message]
    return [leaf for part in message.iter_parts() for leaf in leaves(part)]


Maker = Callable[[FakeServer], ApiProvider]


def _maker(kind: type[ApiProvider], vendor: str, **options: str) -> Maker:
    return lambda server: kind("primary", {"base_url": server.url(vendor), **options})


PROVIDERS: dict[str, Maker] = {
    "azure": _maker(Azure, "azure", access_key="ZmFrZS1rZXk="),
    "brevo": _maker(Brevo, "brevo", api_key="fake-key"),
    "mailersend": _maker(MailerSend, "mailersend", api_key="fake-key", custom_headers="send"),
    "mailjet": _maker(Mailjet, "mailjet", api_key="public", secret_key="fake-key"),
    "mailtrap": _maker(Mailtrap, "mailtrap", token="fake-key"),
    "postmark": _maker(Postmark, "postmark", token="fake-key"),
    "resend": _maker(Resend, "resend", api_key="fake-key"),
    "sendgrid": _maker(SendGrid, "sendgrid", api_key="fake-key"),
}

#: beside UNSAYABLE: what this one cannot be told
REFUSED = {
    "azure": {"invitation", "header-twice"},
    "brevo": {
        *(
            "plain",
            "plain-latin1",
            "plain-eight-bit",
            "nameless-parts",
            "list-footer",
            "forwarded",
            "names",
            "headers",
        ),
        *(
            "header-beyond-ascii",
            "threading",
            "header-twice",
            "several-reply-to",
            "long-line",
            "template-braces",
        ),
        *("ending-disagrees", "unknown-charset", "bad-base64", "boundary-lookalikes"),
        *("inline-images", "invitation", "unusual-ending", "deep"),
    },
    "mailersend": {"invitation", "header-twice", "several-reply-to"},
    "mailjet": {"invitation", "header-twice", "several-reply-to"},
    "mailtrap": {"invitation", "header-twice", "several-reply-to"},
    "postmark": {"invitation"},
    "resend": {"invitation", "header-twice"},
    "sendgrid": {"header-twice"},
}


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
@pytest.mark.parametrize("vendor", PROVIDERS)
def test_what_arrives_is_what_was_sent(fake_server: FakeServer, vendor: str, path: Path) -> None:
    provider, fake = PROVIDERS[vendor](fake_server), fake_server.fakes[vendor]
    raw = raw_of(path)
    mail = outgoing("jane@example.org", raw=raw)

    outcome, reason = asyncio.run(_send(provider, mail))

    refused = path.stem in {EMPTY, *UNSAYABLE, *REFUSED[vendor]}
    assert bool(reason) == refused
    if reason:
        assert (outcome.kind, outcome.reply.text) == (OutcomeKind.REJECTED, reason)
        assert not fake.requests
        return
    assert outcome.kind is OutcomeKind.ACCEPTED, outcome.reply
    (kept,) = fake.kept
    assert kept.token == mail.token or vendor == "azure"
    assert kept.parts is not None
    given = take_apart(raw)
    if vendor == "azure":
        # The name of a sender is set at Azure.
        assert kept.parts.from_.address == given.from_.address
        given = _with_sender(given, kept.parts)
    assert_same_content(given, kept.parts)
    if vendor not in {"brevo", "mailersend", "resend"}:
        assert [one.type for one in kept.parts.attachments] == [one.type for one in given.attachments]
    if provider.capabilities.keeps_message_id:
        assert kept.parts.message_id == given.message_id
    name = given.name_of("jane@example.org")
    assert [(box.name, box.address) for box in kept.parts.to] == [(name, "jane@example.org")]


def _with_sender(parts: Parts, arrived: Parts) -> Parts:
    return Parts(**{**{name: getattr(parts, name) for name in Parts.__slots__}, "from_": arrived.from_})


async def _send(provider: ApiProvider, mail: Outgoing) -> tuple[Outcome, str | None]:
    reason = provider.refuses(mail)
    ((outcome,),) = await provider.send([mail])
    await provider.aclose()
    return outcome, reason
