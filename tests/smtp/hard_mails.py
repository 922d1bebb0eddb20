"""Mails that are hard on programs: each by its name, as the octets a client would send. All have CRLF line ends."""

import base64
import random
from collections.abc import Callable, Iterator

HEAD = b"From: App <app@example.org>\r\nTo: rcpt@example.net\r\nDate: Sun, 22 Nov 2026 10:00:00 +0000\r\n"
ID = b"Message-ID: <hard@example.org>\r\n"
MIME = b"MIME-Version: 1.0\r\n"

Made = Callable[[], bytes]
_MAILS: dict[str, Made] = {}


def all_mails() -> Iterator[tuple[str, Made]]:
    yield from _MAILS.items()


def _mail(name: str, fields: bytes, body: bytes | Made) -> None:
    def make() -> bytes:
        return HEAD + ID + fields + b"\r\n" + (body if isinstance(body, bytes) else body())

    assert name not in _MAILS, name
    _MAILS[name] = make


def _parts(boundary: bytes, *parts: bytes, preamble: bytes = b"", epilogue: bytes = b"") -> bytes:
    opened = b"".join(b"--" + boundary + b"\r\n" + part + b"\r\n" for part in parts)
    return preamble + opened + b"--" + boundary + b"--\r\n" + epilogue


def _nested(depth: int) -> bytes:
    body = b"Content-Type: text/plain\r\n\r\nat the bottom\r\n"
    for level in range(depth):
        mark = b"b%d" % level
        body = b"Content-Type: multipart/mixed; boundary=" + mark + b"\r\n\r\n" + _parts(mark, body)
    return body


def _inner(depth: int) -> bytes:
    body = b"Subject: innermost\r\n\r\nhello\r\n"
    for _ in range(depth):
        body = b"Content-Type: message/rfc822\r\n\r\n" + body
    return body


def _noise(size: int, seed: int = 1) -> bytes:
    lines = base64.encodebytes(random.Random(seed).randbytes(size))
    return lines.replace(b"\n", b"\r\n")


TEXT = MIME + b"Content-Type: text/plain; charset=utf-8\r\n"
MIXED = MIME + b'Content-Type: multipart/mixed; boundary="=_b"\r\n'
B = b"=_b"
PLAIN = b"Content-Type: text/plain\r\n\r\nhello\r\n"

# Bodies.
_mail("empty body", TEXT, b"")
_mail("one blank line", TEXT, b"\r\n")
_mail("many blank lines", TEXT, b"\r\n" * 500)
_mail("blank lines at both ends", TEXT, b"\r\n\r\nx\r\n\r\n\r\n")
_mail("dots at line starts", TEXT, b".\r\n..\r\n...\r\n.x\r\n. \r\n")
_mail("only a dot", TEXT, b".\r\n")
_mail("a thousand dots", TEXT, b".\r\n" * 1000)
_mail("dots where blocks end", TEXT, b"".join(b"x" * size + b"\r\n.\r\n" for size in range(65400, 65560, 13)))
_mail("From at line starts", TEXT, b"From here on\r\n>From there\r\n\r\nFrom: nobody\r\n")
_mail("trailing blanks and tabs", TEXT, b"a \r\nb\t\r\n \r\n\t\t\r\nc  \t \r\n")
_mail("form feeds and vertical tabs", TEXT, b"a\x0cb\x0bc\x1bd\x07e\x7f\r\n")
_mail("every control character but NUL, CR and LF", TEXT, bytes(set(range(1, 32)) - {10, 13}) + b"\r\n")
_mail("every octet above 127", TEXT, bytes(range(128, 256)) * 20 + b"\r\n")
_mail("NEL and line separators", TEXT, b"a\xc2\x85b\xe2\x80\xa8c\xe2\x80\xa9d\x85e\r\n")
_mail("broken UTF-8", TEXT, b"\xc3\x28 \xa0\xa1 \xe2\x28\xa1 \xf0\x28\x8c\xbc \xed\xa0\x80\r\n")
_mail(
    "UTF-16 octets",
    MIME + b"Content-Type: text/plain; charset=utf-16\r\n",
    "\u4e2d\u6587\u5b57".encode("utf-16-le") + b"\r\n",
)
_mail("a line of 998", TEXT, b"x" * 998 + b"\r\n")
_mail("a line of 999", TEXT, b"x" * 999 + b"\r\n")
_mail("a line of 5,000", TEXT, b"x" * 5000 + b"\r\n")
_mail("a line of 99,000", TEXT, b"x" * 99_000 + b"\r\n")
_mail("lines of every length to 1,100", TEXT, lambda: b"".join(b"y" * n + b"\r\n" for n in range(1100)))
_mail("no line end but the last", TEXT, b"z" * 60_000 + b"\r\n")
_mail("one megabyte of short lines", TEXT, b"ab\r\n" * 262_144)
_mail("three megabytes of base64", MIME + b"Content-Transfer-Encoding: base64\r\n", lambda: _noise(2_300_000))
_mail(
    "quoted-printable with soft ends",
    MIME + b"Content-Transfer-Encoding: quoted-printable\r\n",
    b"a=\r\nb=20=\r\n=0D=0A=\r\n.=2E\r\n",
)
_mail("base64 that is none", MIME + b"Content-Transfer-Encoding: base64\r\n", b"!!!! not base64 ===\r\n=\r\n")
_mail("uuencode", TEXT, b"begin 644 a.bin\r\n#0V%T\r\n`\r\nend\r\n")
_mail("yEnc octets", TEXT, bytes(b for b in range(256) if b not in (0, 10, 13)) * 30 + b"\r\n")
_mail("unknown encoding", MIME + b"Content-Transfer-Encoding: x-rot13\r\n", b"uryyb\r\n")
_mail(
    "a signed text",
    TEXT,
    b"-----BEGIN PGP SIGNED MESSAGE-----\r\nHash: SHA512\r\n\r\n- --x \r\n"
    b"-----BEGIN PGP SIGNATURE-----\r\n\r\n=x\r\n",
)

# Structure.
_mail(
    "preamble and epilogue",
    MIXED,
    _parts(B, PLAIN, preamble=b"old reader\r\n", epilogue=b"\r\nafter\r\n\r\n"),
)
_mail("no last boundary", MIXED, b"--=_b\r\n" + PLAIN)
_mail("boundary that never comes", MIXED, b"just text\r\n")
_mail(
    "boundary without quotes but with specials",
    MIME + b"Content-Type: multipart/mixed; boundary=a=b?c:d\r\n",
    _parts(b"a=b?c:d", PLAIN),
)
_mail(
    "boundary of 70 characters",
    MIME + b"Content-Type: multipart/mixed; boundary=" + b"q" * 70 + b"\r\n",
    _parts(b"q" * 70, PLAIN),
)
_mail(
    "boundary that begins another",
    MIXED,
    _parts(B, PLAIN, b"Content-Type: multipart/mixed; boundary==_bb\r\n\r\n" + _parts(b"=_bb", PLAIN)),
)
_mail("boundary with blanks behind", MIXED, b"--=_b \t \r\n" + PLAIN + b"\r\n--=_b--  \r\n")
_mail("empty multipart", MIXED, b"--=_b--\r\n")
_mail("multipart without parts' headers", MIXED, _parts(B, b"\r\nimplicit text", b"\r\n"))
_mail("alternative in related in mixed", MIXED, _parts(B, _nested(3)))
_mail("nested 100 deep", MIME, lambda: _nested(100))
_mail("nested 2,000 deep", MIXED, lambda: _parts(B, _nested(2000)))
_mail("20,000 parts", MIXED, lambda: _parts(B, *[b"\r\nx"] * 20_000))
_mail("500 mails in each other", MIME + b"Content-Type: message/rfc822\r\n", lambda: _inner(500))
_mail(
    "a mail in a mail, signed",
    MIXED,
    _parts(
        B,
        b"Content-Type: message/rfc822\r\n\r\nDKIM-Signature: v=1; b=\r\n abc\r\nSubject: x\r\n\r\n.dot \r\n",
    ),
)
_mail(
    "delivery report",
    MIME + b'Content-Type: multipart/report; report-type=delivery-status; boundary="=_b"\r\n',
    _parts(
        B,
        PLAIN,
        b"Content-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; a\r\n\r\n"
        b"Final-Recipient: rfc822; b@c\r\n",
    ),
)
_mail(
    "S/MIME, detached",
    MIME
    + b'Content-Type: multipart/signed; micalg=sha-256; boundary="=_b"; protocol="application/pkcs7-signature"\r\n',
    lambda: _parts(
        B,
        b"Content-Type: text/plain\r\n\r\nexact  blanks \t\r\n.\r\n",
        b"Content-Type: application/pkcs7-signature\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        + _noise(900),
    ),
)
_mail(
    "calendar invitation",
    MIXED,
    _parts(
        B,
        b"Content-Type: text/calendar; method=REQUEST\r\n\r\nBEGIN:VCALENDAR\r\n"
        b"DESCRIPTION:long\r\n  folded\r\nEND:VCALENDAR\r\n",
    ),
)
_mail(
    "inline picture by cid",
    MIME + b'Content-Type: multipart/related; boundary="=_b"\r\n',
    lambda: _parts(
        B,
        b"Content-Type: text/html\r\n\r\n<img src=cid:a>",
        b"Content-Type: image/png\r\nContent-ID: <a>\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        + _noise(5000),
    ),
)
_mail(
    "AMP part",
    MIME + b'Content-Type: multipart/alternative; boundary="=_b"\r\n',
    _parts(B, PLAIN, b"Content-Type: text/x-amp-html\r\n\r\n<!doctype html>\r\n"),
)
_mail(
    "binary part undeclared",
    MIXED,
    _parts(
        B,
        b"Content-Type: application/octet-stream\r\n\r\n"
        + bytes(b for b in range(1, 256) if b not in (10, 13)) * 4,
    ),
)
_mail(
    "TNEF",
    MIXED,
    lambda: _parts(
        B,
        b"Content-Type: application/ms-tnef; name=winmail.dat\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        + _noise(3000),
    ),
)

# File names and parameters.
_mail(
    "RFC 2231 pieces",
    MIXED,
    _parts(
        B,
        b"Content-Disposition: attachment;\r\n filename*0*=utf-8''%e2%82%ac;\r\n"
        b' filename*1="b c";\r\n filename*2*=%20d\r\n\r\nx',
    ),
)
_mail(
    "10,000 RFC 2231 pieces",
    MIXED,
    lambda: _parts(
        B,
        b"Content-Type: text/plain;" + b"".join(b"\r\n name*%d=a;" % n for n in range(10_000)) + b"\r\n\r\nx",
    ),
)
_mail(
    "raw 8-bit file name",
    MIXED,
    _parts(B, b'Content-Disposition: attachment; filename="\xfcn\xef.txt"\r\n\r\nx'),
)
_mail(
    "file name with traversal",
    MIXED,
    _parts(B, b'Content-Disposition: attachment; filename="../../etc/passwd"\r\n\r\nx'),
)
_mail(
    "unclosed quote in a parameter", MIME + b'Content-Type: text/plain; name="a; charset=utf-8\r\n', b"x\r\n"
)
_mail("semicolons without end", MIME + b"Content-Type: text/plain" + b";" * 500 + b"\r\n", b"x\r\n")
_mail("content type that is none", MIME + b"Content-Type: /\r\n", b"x\r\n")
_mail("content type twice", MIME + b"Content-Type: text/plain\r\nContent-Type: text/html\r\n", b"<b>\r\n")
_mail("charset nobody has", MIME + b"Content-Type: text/plain; charset=x-klingon\r\n", b"x\r\n")

# Headers.
_mail("folded at every blank", b"Subject: a\r\n b\r\n\tc\r\n  d\r\n", b"x\r\n")
_mail("a fold of blanks only", b"X-A: a\r\n \r\n\t\r\n b\r\n", b"x\r\n")
_mail("empty values", b"Subject:\r\nX-Empty: \r\nX-Tab:\t\r\n", b"x\r\n")
_mail("blanks before the colon", b"Subject : x\r\nX-Y\t: z\r\n", b"x\r\n")
_mail("odd field names", b"X!#$%&'*+^_`|~: a\r\n1: b\r\nx.y-z: c\r\n", b"x\r\n")
_mail("a header line of 60,000", b"X-Long: " + b"v" * 60_000 + b"\r\n", b"x\r\n")
_mail("3,000 fields", b"".join(b"X-%d: v\r\n" % n for n in range(3000)), b"x\r\n")
_mail(
    "40 Received fields",
    b"".join(b"Received: from a by b%d;\r\n\tSun, 22 Nov 2026 10:00:00 +0000\r\n" % n for n in range(40)),
    b"x\r\n",
)
_mail("raw UTF-8 in the header", "Subject: Grüße aus Köln ✓\r\n".encode(), b"x\r\n")
_mail("raw Latin-1 in the header", b"Subject: Gr\xfc\xdfe\r\n", b"x\r\n")
_mail(
    "encoded words of all kinds",
    b"Subject: =?utf-8?q?a_b?= =?iso-8859-1?Q?=FC?= =?utf-8?B?w7w=?= =?x?y?z?= =?utf-8?b?bad!?=\r\n",
    b"x\r\n",
)
_mail("an encoded word cut in a character", b"Subject: =?utf-8?b?w7?= =?utf-8?b?w=?=\r\n", b"x\r\n")
_mail("escape characters in the subject", b"Subject: \x1b[31mred\x1b[0m \x07\r\n", b"x\r\n")
_mail(
    "ten signatures",
    b"".join(
        b"DKIM-Signature: v=1; a=rsa-sha256; d=e%d.example;\r\n\tbh=abc=;\r\n\tb=def=\r\n" % n
        for n in range(10)
    ),
    b" x  y \r\n\r\n\r\n",
)
_mail(
    "an ARC chain",
    b"ARC-Seal: i=1; cv=none; b=x\r\nARC-Message-Signature: i=1;\r\n b=y\r\nARC-Authentication-Results: i=1; a\r\n",
    b"x\r\n",
)
_mail(
    "a list's fields",
    b"List-Unsubscribe: <https://a.example/u?x=1>,\r\n <mailto:u@a.example>\r\n"
    b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n",
    b"x\r\n",
)
_mail("a group of undisclosed recipients", b"Cc: undisclosed-recipients:;\r\n", b"x\r\n")
_mail("comments in addresses", b"Cc: a(comment (nested \\) deep))@(x)example.net (end)\r\n", b"x\r\n")
_mail("5,000 deep comment", b"X-C: " + b"(" * 5000 + b")" * 5000 + b"\r\n", b"x\r\n")
_mail(
    "resent fields", b"Resent-From: b@example.net\r\nResent-To: c@example.net\r\nResent-Date: x\r\n", b"x\r\n"
)
_mail("MIME-Version with a comment", b"MIME-Version: 1.0 (made by hand)\r\n", b"x\r\n")
