"""Mail without its files: what is text stays, all else goes, and what is left is a mail."""

import email
import email.policy
from datetime import date
from email.message import EmailMessage

import pytest

from relay.core.parts import take_apart
from relay.core.strip import strip

ON = date(2026, 5, 1)
SECRET = bytes(range(256)) * 4


def letter() -> EmailMessage:
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "a@x.example", "b@x.example", "Invoice"
    mail.set_content("Grüße")
    mail.add_alternative("<p>Grüße <img src='cid:logo'></p>", subtype="html")
    return mail


def octets(mail: EmailMessage) -> bytes:
    return mail.as_bytes(policy=email.policy.SMTP)


def parsed(raw: bytes) -> EmailMessage:
    found = email.message_from_bytes(raw, policy=email.policy.default)
    assert isinstance(found, EmailMessage)
    assert not [defect for part in found.walk() for defect in part.defects]
    return found


def test_text_and_html_stay_and_a_note_stands_for_every_file() -> None:
    mail = letter()
    html = mail.get_payload()[1]
    html.add_related(SECRET, "image", "png", cid="<logo>")
    mail.add_attachment(SECRET, maintype="application", subtype="pdf", filename="Ärger.pdf")
    inner = EmailMessage()
    inner["Subject"] = "within"
    inner.set_content("forwarded secret")
    mail.add_attachment(inner)
    raw = octets(mail)
    found = strip(raw, ON)
    assert found is not None
    assert [one["fileName"] for one in found.files] == ["part-1.png", "Ärger.pdf", "part-3.eml"]
    assert [one["fileSize"] for one in found.files[:2]] == [1024, 1024]
    assert found.files[0]["hash"] == found.files[1]["hash"]
    left = parsed(found.mail)
    assert left["Subject"] == "Invoice"
    assert left.get_body(("plain",)).get_content().strip() == "Grüße"
    assert "<img" in left.get_body(("html",)).get_content()
    assert b"forwarded" not in found.mail
    assert len(found.mail) < len(raw) - 2500
    # Providers and the console take it apart like any other.
    again = take_apart(found.mail)
    assert (again.text, [one.name for one in again.attachments]) == (
        "Grüße\n",
        ["part-1.png.txt", "Ärger.pdf.txt", "part-3.eml.txt"],
    )
    assert b"was deleted on 2026-05-01" in again.attachments[0].content


def test_a_mail_that_is_a_file_becomes_a_note() -> None:
    mail = EmailMessage()
    mail["From"], mail["Subject"] = "scanner@x.example", "Scan"
    mail.set_content(SECRET, "application", "pdf", filename="scan.pdf")
    found = strip(octets(mail), ON)
    assert found is not None
    left = parsed(found.mail)
    assert (left["Subject"], left.get_content_type(), left.get_filename()) == (
        "Scan",
        "text/plain",
        "scan.pdf.txt",
    )
    assert left.get_content().startswith("scan.pdf (application/pdf, 1024 octets) was deleted")


@pytest.mark.parametrize(
    "raw",
    [
        b"Subject: x\r\n\r\nplain\r\n",
        b"Subject: x\r\nContent-Type: text/html; name=mail.html\r\n\r\n<p>x</p>\r\n",
        octets(letter()),
        b"Subject: no end",
    ],
)
def test_a_mail_without_files_is_left_as_it_is(raw: bytes) -> None:
    assert strip(raw, ON) is None


def test_a_signature_stays_for_as_long_as_what_it_signs() -> None:
    head = b'Content-Type: multipart/signed; boundary=s; protocol="application/pkcs7-signature"\r\n\r\n'
    signature = b"--s\r\nContent-Type: application/pkcs7-signature; name=smime.p7s\r\n\r\nSIGNED\r\n--s--\r\n"
    text = b"--s\r\nContent-Type: text/plain\r\n\r\nHello\r\n"
    assert strip(head + text + signature, ON) is None
    file = (
        b"--s\r\nContent-Type: multipart/mixed; boundary=m\r\n\r\n--m\r\n\r\nHello\r\n"
        b"--m\r\nContent-Type: image/png\r\n\r\nSECRET\r\n--m--\r\n"
    )
    found = strip(head + file + signature, ON)
    assert found is not None
    assert [one["fileName"] for one in found.files] == ["part-1.png", "smime.p7s"]
    assert b"SIGNED" not in found.mail
    assert b"SECRET" not in found.mail
    assert parsed(found.mail).get_body(("plain",)).get_content().strip() == "Hello"


@pytest.mark.parametrize(
    "body",
    [
        b"--other\r\n\r\nSECRET\r\n--other--\r\n",
        b"SECRET",
        b"--b\r\n\r\ntext\r\n--b\r\nContent-Type: image/png\r\n\r\nSECRET",
        b"SECRET\r\n--b\r\nContent-Disposition: attachment\r\n\r\nx\r\n--b--\r\nSECRET",
        b"--b\r\nContent-Type: multipart/mixed\r\n\r\nSECRET\r\n--b--\r\n",
        b"--b\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: x-odd\r\n\r\nSECRET\r\n--b--\r\n",
        b"--b\r\n\r\n" * 1001 + b"SECRET\r\n--b--\r\n",
    ],
)
def test_what_cannot_be_taken_apart_may_be_a_file(body: bytes) -> None:
    found = strip(b"Subject: x\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n" + body, ON)
    assert found is not None
    assert b"SECRET" not in found.mail
    assert parsed(found.mail)["Subject"] == "x"
