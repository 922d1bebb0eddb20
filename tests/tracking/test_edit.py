"""Mail of every build through the door: the HTML part is edited, all other octets are what they were."""

import base64
import email
import email.policy
import quopri
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.message import EnvelopeRecipient, MemoryTail, Submission
from relay.core.status import Door
from relay.tracking.edit import Links, edit
from relay.tracking.structure import html_parts, quoted_printable
from relay.tracking.tokens import Mail, Tokens
from tests.tracking.conftest import URL, links_of, pixel_of

CONTROL = b"X-Pillarbox-Track: opens, clicks\r\n"
HEAD = b"From: a@acme.example\r\nTo: b@example.net\r\nSubject: x\r\nMIME-Version: 1.0\r\n"
PAGE = '<html><body><p>Grüße, <a href="https://shop.example/?a=1&amp;ü=2">hier</a> entlang.</p></body></html>\r\n'


def part(text: str, encoding: str, charset: str = "utf-8", more: bytes = b"") -> bytes:
    data = text.encode(charset)
    if encoding == "base64":
        written = base64.encodebytes(data).replace(b"\n", b"\r\n")
    elif encoding == "quoted-printable":
        written = quoted_printable(data)
    else:
        written = data
    head = f"Content-Type: text/html; charset={charset}\r\nContent-Transfer-Encoding: {encoding}\r\n".encode()
    return head + more + b"\r\n" + written


def multipart(kind: str, boundary: str, *parts: bytes) -> bytes:
    mark = b"--" + boundary.encode()
    body = b"".join(mark + b"\r\n" + one + b"\r\n" for one in parts)
    head = f'Content-Type: multipart/{kind}; boundary="{boundary}"\r\n\r\n'.encode()
    return head + b"A preamble.\r\n" + body + mark + b"--\r\nAn epilogue.\r\n"


TEXT = b'Content-Type: text/plain\r\n\r\nSee https://shop.example/ <a href="https://shop.example/">\r\n'
IMAGE = (
    b"Content-Type: image/png\r\nContent-Transfer-Encoding: base64\r\nContent-ID: <i>\r\n\r\niVBORw0KGgo=\r\n"
)
FILE = part(PAGE, "base64", more=b"Content-Disposition: attachment; filename=page.html\r\n")
INNER = (
    b"Content-Type: message/rfc822\r\n\r\nSubject: inner\r\nContent-Type: text/html\r\n\r\n"
    + PAGE.encode("ascii", "replace")
)


@pytest.mark.parametrize("charset", ["utf-8", "iso-8859-1", "windows-1252"])
@pytest.mark.parametrize("encoding", ["8bit", "base64", "quoted-printable"])
def test_charset_and_transfer_encoding_stay(sqlite_post, encoding, charset):
    identifier = sqlite_post.write(CONTROL + HEAD + part(PAGE, encoding, charset))
    mail = sqlite_post.mail(identifier)
    assert mail["Content-Transfer-Encoding"] == encoding
    assert mail.get_content_charset() == charset
    html = mail.get_content().replace("\r\n", "\n")
    (link,) = links_of(html)
    before, after = PAGE.replace("\r\n", "\n").split("https://shop.example/?a=1&amp;ü=2")
    pixel = re.search(r"<img [^>]+>", html)[0]
    assert html == before + link + after.replace("</body>", f"{pixel}</body>")
    assert sqlite_post.visit(link).headers["location"] == "https://shop.example/?a=1&%C3%BC=2"
    assert b"X-Pillarbox" not in sqlite_post.raw(identifier)


NESTED = multipart(
    "mixed",
    "outer",
    multipart("related", "mid", multipart("alternative", "in", TEXT, part(PAGE, "quoted-printable")), IMAGE),
    FILE,
    INNER,
)


def test_only_the_body_of_a_nested_mail_is_edited(sqlite_post):
    raw = HEAD + NESTED
    untouched = sqlite_post.raw(sqlite_post.write(raw))
    edited = sqlite_post.raw(sqlite_post.write(CONTROL + raw))
    start = edited.index(b"Content-Transfer-Encoding: quoted-printable\r\n\r\n")
    end = edited.index(b"\r\n--in--")
    assert b"/t/c/" not in edited[:start]
    assert b"/t/" not in edited[end:]
    assert links_of(quopri.decodestring(edited[start:end]).decode())
    assert edited[end:] == untouched[untouched.index(b"\r\n--in--") :]
    body = edited.index(b"\r\n\r\n")
    assert (
        edited[body:start]
        == untouched[untouched.index(b"\r\n\r\n") : untouched.index(b"quoted-printable") - 27]
    )
    # It came without the control, so not a single octet was changed.
    assert untouched.endswith(NESTED[NESTED.index(b"\r\n\r\n") :])


SIGNED = [
    (b"DKIM-Signature: v=1; a=rsa-sha256; d=acme.example; b=x\r\n", b"", "it is signed with DKIM already"),
    (b"", multipart("signed", "s", part(PAGE, "8bit"), IMAGE), "it is signed"),
    (b"", multipart("encrypted", "s", IMAGE, IMAGE), "it is encrypted"),
    (b"", b"Content-Type: application/pkcs7-mime\r\n\r\nMIIB\r\n", "it is signed or encrypted by S/MIME"),
    (b"", multipart("mixed", "m", multipart("signed", "s", part(PAGE, "8bit"), IMAGE)), "it is signed"),
    (b"", part("<p>-----BEGIN PGP MESSAGE-----</p>", "7bit"), "it is signed or encrypted by PGP"),
    (b"", multipart("report", "r", TEXT, part(PAGE, "8bit")), "it is a report"),
    (b"", TEXT, "it has no HTML"),
    (b"", FILE, "it has no HTML"),
    (b"", b"Content-Type: multipart/mixed\r\n\r\n" + PAGE.encode(), "it has no HTML"),
    (b"", part("", "base64") + b"PGE+*damaged*=\r\n", "its base64 is damaged"),
    (b"", b"Content-Type: text/html\r\nContent-Transfer-Encoding: x-uuencode\r\n\r\nx\r\n", "it has no HTML"),
    (b"", b"Content-Type: text/html\r\nContent-Type: text/plain\r\n\r\n" + PAGE.encode(), "it has no HTML"),
    (b"", b"Content-Type: text/html; charset=utf-16\r\n\r\n<p>\r\n", "its HTML is not in the charset that it claims"),
]  # fmt: skip


@pytest.mark.parametrize(("field", "body", "reason"), SIGNED)
def test_what_must_not_be_changed_is_not_and_says_so(sqlite_post, field, body, reason):
    raw = HEAD + field + (body or part(PAGE, "8bit"))
    expected = sqlite_post.raw(sqlite_post.write(raw))
    identifier = sqlite_post.write(CONTROL + raw)
    stored = sqlite_post.raw(identifier)
    assert stored.partition(b"\r\n\r\n")[2] == expected.partition(b"\r\n\r\n")[2]
    accepted = sqlite_post.get(f"/v1/messages/{identifier}").json()["events"][0]
    assert accepted["detail"] == {"untracked": reason}


def test_mail_signed_elsewhere_is_not_made_leavable_either(sqlite_post):
    signature = SIGNED[0][0]
    stream = b"X-Pillarbox-Stream: bulk\r\n"
    assert b"List-Unsubscribe" not in sqlite_post.raw(sqlite_post.write(stream + HEAD + signature + TEXT))
    assert b"List-Unsubscribe" in sqlite_post.raw(sqlite_post.write(stream + HEAD + TEXT))


def test_charsets_in_which_octets_are_not_what_they_seem(sqlite_post):
    page = '<body><p>日本語 <a href="https://shop.example/">こちら</a></p></body>\r\n'
    for charset in ("iso-2022-jp", "shift_jis", "euc-jp", "utf-16"):
        raw = HEAD + part(page, "base64", charset)
        html = sqlite_post.mail(sqlite_post.write(CONTROL + raw)).get_content()
        assert "日本語" in html
        assert "こちら" in html
        assert len(links_of(html)) == 1


def test_links_that_are_the_way_out_are_not_led_through_us(sqlite_post):
    out = b"List-Unsubscribe: <https://acme.example/leave?x=1>, <mailto:leave@acme.example>\r\n"
    page = (
        '<a href="https://acme.example/leave?x=1">a</a><a href="https://acme.example/UNSUBSCRIBE">b</a>'
        f'<a href="{URL}/u/token">c</a><a href="https://acme.example/">d</a>'
    )
    html = sqlite_post.html(sqlite_post.write(CONTROL + HEAD + out + part(page, "7bit")))
    assert len(links_of(html)) == 1
    assert 'href="https://acme.example/leave?x=1"' in html


def page_of(*lengths: int) -> str:
    return "".join(f'<a href="https://shop.example/{"x" * length}">a</a>' for length in lengths)


def test_lines_stay_within_what_smtp_carries(sqlite_post):
    identifier = sqlite_post.write(CONTROL + HEAD + part(page_of(400, 400), "7bit"))
    assert max(map(len, sqlite_post.raw(identifier).split(b"\r\n"))) <= 998
    assert len(links_of(sqlite_post.html(identifier))) == 2
    # No line could hold this one.
    identifier = sqlite_post.write(CONTROL + HEAD + part(page_of(800, 50), "7bit"))
    assert max(map(len, sqlite_post.raw(identifier).split(b"\r\n"))) <= 998
    assert len(links_of(sqlite_post.html(identifier))) == 1
    # Its own were longer than that.
    identifier = sqlite_post.write(CONTROL + HEAD + part(page_of(800, 800, 50), "8bit"))
    assert len(links_of(sqlite_post.html(identifier))) == 1
    identifier = sqlite_post.write(CONTROL + HEAD + part(page_of(800, 800, 50), "quoted-printable"))
    assert len(links_of(sqlite_post.html(identifier))) == 3


def test_attachments_of_a_send_come_through(post):
    fields = {"from": "a@acme.example", "to": "b@example.net", "subject": "x", "html": PAGE, "text": "x"}
    files = [{"filename": "a.txt", "content": base64.b64encode(b"hello " * 5000).decode()}]
    made = post.request(
        "POST", "/v1/messages", json={**fields, "attachments": files, "track": {"clicks": True}}
    ).json()
    mail = post.mail(made["id"])
    assert [one.get_content() for one in mail.iter_attachments()] == ["hello " * 5000]
    assert len(links_of(post.html(made["id"]))) == 1
    accepted = post.get(f"/v1/messages/{made['id']}").json()["events"][0]
    assert accepted["detail"] == {"tracked": {"opens": False, "links": 1}}


# What holds for any mail.

TOKENS = Tokens.of(b"secret")
BOUNDARY = st.sampled_from(["b", "=_x'y", "a+b(c)"])
LEAF = st.one_of(
    st.builds(part, st.just(PAGE), st.sampled_from(["8bit", "base64", "quoted-printable"])),
    st.just(TEXT),
    st.just(IMAGE),
    st.just(FILE),
    st.binary(max_size=80).filter(lambda data: b"\n" not in data and b"\r" not in data),
)
TREE = st.recursive(
    LEAF,
    lambda inner: st.builds(
        lambda kind, boundary, parts: multipart(kind, boundary, *parts),
        st.sampled_from(["mixed", "alternative", "related"]),
        BOUNDARY,
        st.lists(inner, min_size=1, max_size=4),
    ),
    max_leaves=8,
)


@given(TREE, st.booleans(), st.booleans())
def test_octets_outside_of_the_html_are_what_they_were(tree, opens, clicks):
    head, _, body = (HEAD + tree).partition(b"\r\n\r\n")
    head += b"\r\n\r\n"
    submission = Submission(
        account_id=1,
        key_id=None,
        door=Door.REST,
        sender="a@acme.example",
        recipients=[EnvelopeRecipient("b@example.net")],
        head=head,
        tail=MemoryTail(body),
        from_="a@acme.example",
    )
    links = Links(TOKENS, Mail(1, 2), URL, opens=opens, clicks=clicks)
    try:
        spans = html_parts(head, body)
        edit(submission, links)
    except ValueError:
        assert b"".join(submission.tail.chunks(1000)) == body
        return
    edited = b"".join(submission.tail.chunks(1000))
    assert submission.head == head
    after = html_parts(head, edited)
    assert len(after) == len(spans)
    position = other = 0
    for number, (before, now) in enumerate(zip(spans, after, strict=True)):
        assert edited[other : now.start] == body[position : before.start]
        assert (now.encoding, now.charset) == (before.encoding, before.charset)
        text = now.text(edited)
        assert len(links_of(text)) == clicks
        restored = re.sub(rf"{URL}/t/c/[\w-]+", "https://shop.example/?a=1&amp;\xc3\xbc=2", text)
        if opens and number == 0:
            pixel_of(text)
        assert re.sub(r"<img [^>]+>", "", restored) == before.text(body)
        position, other = before.end, now.end
    assert edited[other:] == body[position:]


@given(st.binary(max_size=400))
def test_quoted_printable_says_what_it_was_given(data):
    written = quoted_printable(data)
    assert quopri.decodestring(written) == data
    assert all(len(line) <= 76 for line in written.split(b"\r\n"))
    assert email.message_from_bytes(
        b"Content-Transfer-Encoding: quoted-printable\r\n\r\n" + written, policy=email.policy.SMTP
    )
