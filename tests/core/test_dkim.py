"""Signatures that a verifier of other people's making agrees with, whatever the mail looks like."""

import asyncio
import random
from pathlib import Path
from typing import Any

import dkim as verifier
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from relay.core.dkim import BodyHash
from relay.core.errors import Misconfigured
from relay.core.message import EnvelopeRecipient, MemoryTail, Submission
from relay.core.status import Door
from relay.sections import DkimSettings
from relay.signing import Signer, load

HEAD = (
    b"Received: from a\r\n\tby b; now\r\nFrom: App <app@example.org>\r\nTo: a@example.net,\r\n  b@example.net\r\n"
    b"Subject:  folded\r\n\t and  wide \r\nDate: Sun, 22 Nov 2026 10:00:00 +0000\r\nContent-Type: text/plain\r\n\r\n"
)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, bytes]]:
    """By selector: the key's file, and the record that DNS would have."""
    import base64

    folder = tmp_path_factory.mktemp("keys")
    made: dict[str, tuple[Path, bytes]] = {}
    for selector, private in {
        "rsa": rsa.generate_private_key(65537, 2048),
        "ed": ed25519.Ed25519PrivateKey.generate(),
    }.items():
        path = folder / f"{selector}.pem"
        path.write_bytes(_pem(private))
        public = private.public_key()
        if isinstance(public, ed25519.Ed25519PublicKey):
            octets, kind = public.public_bytes_raw(), b"ed25519"
        else:
            form = serialization.PublicFormat.SubjectPublicKeyInfo
            octets, kind = public.public_bytes(serialization.Encoding.DER, form), b"rsa"
        made[selector] = path, b"v=DKIM1; k=" + kind + b"; p=" + base64.b64encode(octets)
    return made


def _pem(private: Any) -> bytes:
    return private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _signer(keys: dict[str, tuple[Path, bytes]], domain: str = "example.org") -> Signer:
    return load([DkimSettings(domain=domain, selector=name, key_file=keys[name][0]) for name in keys])


def _signed(signer: Signer, head: bytes, tail: bytes, from_: str = "App <app@example.org>") -> bytes:
    submission = Submission(
        account_id=1,
        key_id=1,
        door=Door.SMTP,
        sender="app@example.org",
        recipients=[EnvelopeRecipient("a@example.net")],
        head=head,
        tail=MemoryTail(tail),
        from_=from_,
    )
    asyncio.run(signer.sign(submission))
    return submission.head + tail


def _valid(mail: bytes, keys: dict[str, tuple[Path, bytes]]) -> list[bool]:
    """What the verifier says of each signature."""

    def txt(name: bytes, timeout: int = 5) -> bytes:
        return keys[name.decode().partition(".")[0]][1]

    checked = verifier.DKIM(mail)
    count = mail.partition(b"\r\n\r\n")[0].count(b"DKIM-Signature:")
    return [_verify(checked, number, txt) for number in range(count)]


def _verify(checked: verifier.DKIM, number: int, txt: Any) -> bool:
    try:
        return bool(checked.verify(number, dnsfunc=txt))
    except verifier.ValidationError:
        return False


BODIES = [
    b"",
    b"\r\n",
    b"\r\n\r\n\r\n",
    b"hello\r\n",
    b"hello",
    b"hello \t \r\n\r\n\r\n",
    b" leading\r\n\ttab\t\ttabs \r\n",
    b"a\r\n\r\n\r\nb\r\n\r\n",
    b"  \r\n\t\r\nx\r\n  \r\n",
    bytes(range(128, 256)) + b"\r\n",
    b"x" * 5000 + b"\r\n",
]


@pytest.mark.parametrize("body", BODIES, ids=lambda body: repr(body)[:30])
def test_both_kinds_of_key_sign_what_a_verifier_accepts(
    body: bytes, keys: dict[str, tuple[Path, bytes]]
) -> None:
    mail = _signed(_signer(keys), HEAD, body)
    assert mail.endswith(HEAD + body)
    assert _valid(mail, keys) == [True, True]


def test_large_bodies_and_odd_pieces(keys: dict[str, tuple[Path, bytes]]) -> None:
    rng = random.Random(1)
    lines = [rng.choice([b"", b" ", b"a  b", b"\tx\t", b"text " * 9]) for _ in range(60_000)]
    body = b"".join(line + b"\r\n" for line in lines)
    assert _valid(_signed(_signer(keys), HEAD, body), keys) == [True, True]
    whole = BodyHash()
    whole.update(body)
    pieces = BodyHash()
    position = 0
    while position < len(body):
        size = rng.randint(1, 3000)
        pieces.update(body[position : position + size])
        position += size
    assert pieces.digest() == whole.digest()


@pytest.mark.parametrize(
    "change",
    [
        (b"hello", b"hallo"),
        (b"Subject:  folded", b"Subject:  forged"),
        (b"\r\nFrom: App", b"\r\nFrom: ceo@bank.example\r\nFrom: App"),
        (b"\r\nDate:", b"\r\nSubject: another\r\nDate:"),
        (b"text/plain", b"text/html"),
        (b"\r\n\r\n", b"\r\nReply-To: thief@example.com\r\n\r\n"),
    ],
    ids=repr,
)
def test_a_change_that_matters_is_seen(
    change: tuple[bytes, bytes], keys: dict[str, tuple[Path, bytes]]
) -> None:
    mail = _signed(_signer(keys), HEAD, b"hello\r\n")
    before, after = change
    assert before in mail
    assert _valid(mail.replace(before, after, 1), keys) == [False, False]


def test_a_change_that_does_not_matter_is_forgiven(keys: dict[str, tuple[Path, bytes]]) -> None:
    mail = _signed(_signer(keys), HEAD, b"hello  you\r\n")
    mail = b"Received: from us\r\n" + mail.replace(b"Subject:  folded\r\n\t and", b"Subject: folded and")
    assert _valid(mail.replace(b"hello  you", b"hello you \r\n"), keys) == [True, True]


def test_keys_speak_for_their_domain_and_those_below(keys: dict[str, tuple[Path, bytes]]) -> None:
    signer = _signer(keys)
    below = _signed(signer, HEAD, b"x\r\n", "a@mail.example.org")
    assert below.count(b"d=example.org;") == 2
    for foreign in ("a@example.net", "a@badexample.org", "a@org", ""):
        assert _signed(signer, HEAD, b"x\r\n", foreign) == HEAD + b"x\r\n"
    assert b"d=xn--nxasmq6b.example;" in _signed(
        _signer(keys, "xn--nxasmq6b.example"), HEAD, b"x\r\n", "a@βόλοσ.example"
    )


def test_signature_lines_are_short(keys: dict[str, tuple[Path, bytes]]) -> None:
    mail = _signed(_signer(keys), HEAD, b"x\r\n")
    assert max(map(len, mail.partition(b"Received:")[0].split(b"\r\n"))) <= 100


def test_unusable_keys_are_explained(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    settings = [DkimSettings(domain="example.org", selector="s", key_file=path)]
    with pytest.raises(Misconfigured, match=r"dkim\[0\]: .*key.pem cannot be read: No such file"):
        load(settings)
    path.write_text("hello")
    with pytest.raises(Misconfigured, match="is no private key in PEM"):
        load(settings)
    path.write_bytes(_pem(rsa.generate_private_key(65537, 1024)))  # noqa: S505
    with pytest.raises(Misconfigured, match="2048 bits or more"):
        load(settings)
