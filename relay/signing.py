"""DKIM for the domains we have keys of: the keys, read once, and the signatures of a mail about to be stored.

A mail is signed last, when nothing of it will be edited any more. What is stored is then what every attempt sends.
"""

import asyncio
import base64
import hashlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from relay.core import dkim
from relay.core.address import domain_of
from relay.core.errors import Misconfigured
from relay.core.message import Submission
from relay.observe import facts
from relay.sections import DkimSettings
from relay.store import dkim as dkim_store
from relay.store.database import Database

#: bits of the shortest RSA key that receivers still take seriously (RFC 8301 3.2)
_MIN_BITS = 2048
#: octets of a mail beyond which it is hashed beside the event loop
_LARGE = 256 * 1024
_PIECE = 256 * 1024
#: seconds for which the keys of the database are taken to be the same
_FRESH = 60.0


@dataclass(frozen=True, slots=True)
class Key:
    """A key as a signature names it."""

    domain: str
    selector: str
    algorithm: str  #: `rsa-sha256` or `ed25519-sha256`
    sign: Callable[[bytes], bytes]


class Signer:
    """Signs mail from the domains of its keys, and from their subdomains; with every key of the nearest domain.

    Keys of the database are looked at once a minute, so that a new one is used soon and a removed one no more.
    """

    def __init__(self, keys: Iterable[Key], database: Database | None = None, passphrase: str = "") -> None:
        self._fixed = list(keys)
        self._database = database
        self._passphrase = passphrase
        self._stored: dict[int, Key] = {}
        self._fresh_until = 0.0
        self._refreshing = asyncio.Lock()
        self._keys = _by_domain(self._fixed)

    async def sign(self, submission: Submission) -> None:
        """Put the signatures before the header block; mail from elsewhere is left alone."""
        if self._database is not None and time.monotonic() >= self._fresh_until:
            await self._refresh(self._database)
        keys = self.keys_for(_domain(submission.from_))
        if not keys:
            return
        if submission.tail.size > _LARGE:
            await asyncio.to_thread(_sign, submission, keys)
        else:
            _sign(submission, keys)

    def keys_for(self, domain: str) -> Sequence[Key]:
        """The keys that speak for a domain (RFC 6376 2.5): its own, else those of the nearest one above."""
        while domain:
            if domain in self._keys:
                return self._keys[domain]
            domain = domain.partition(".")[2]
        return ()

    async def _refresh(self, database: Database) -> None:
        async with self._refreshing:
            if time.monotonic() < self._fresh_until:
                return
            rows = await database.read(dkim_store.keys)
            stored: dict[int, Key] = {}
            for row in rows:
                identifier = row["id"]
                try:
                    known = self._stored.get(identifier)
                    if known is None:
                        # Decrypting is made slow on purpose, and done once for each key.
                        known = await asyncio.to_thread(self._decrypt, row)
                    stored[identifier] = known
                except Misconfigured as error:
                    # Mail without this signature is better than no mail.
                    facts.fault("signing", error)
            self._stored = stored
            self._keys = _by_domain([*self._fixed, *stored.values()])
            self._fresh_until = time.monotonic() + _FRESH

    def _decrypt(self, row: Mapping[str, str]) -> Key:
        where = f"the DKIM key {row['selector']} of {row['domain']}"
        return key(
            row["private_key"].encode(),
            row["domain"],
            row["selector"],
            where=where,
            passphrase=self._passphrase.encode() or None,
        )


def _by_domain(keys: Iterable[Key]) -> dict[str, list[Key]]:
    found: dict[str, list[Key]] = {}
    for one in keys:
        found.setdefault(one.domain, []).append(one)
    return found


def load(settings: Sequence[DkimSettings], database: Database | None = None, passphrase: str = "") -> Signer:
    """A signer with the configured keys and those of the database. Raises `Misconfigured` for an unusable file."""
    fixed = [_load(one, f"dkim[{number}]") for number, one in enumerate(settings)]
    return Signer(fixed, database if passphrase else None, passphrase)


def generate(kind: str, passphrase: str) -> tuple[str, str]:
    """A new `rsa` or `ed25519` key: its encrypted PEM, and the text of its DNS record (RFC 6376 3.6.1, RFC 8463)."""
    private: RSAPrivateKey | Ed25519PrivateKey = (
        Ed25519PrivateKey.generate() if kind == "ed25519" else rsa.generate_private_key(65537, _MIN_BITS)
    )
    pem = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(passphrase.encode()),
    )
    return pem.decode(), _record(private)


def record_of(pem: bytes, *, where: str) -> str:
    """The text of the DNS record for an unencrypted key. Raises `Misconfigured`, naming `where` it is."""
    try:
        private = serialization.load_pem_private_key(pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        private = None
    if not isinstance(private, RSAPrivateKey | Ed25519PrivateKey):
        raise Misconfigured(f"{where}: is no unencrypted RSA or Ed25519 key in PEM")
    return _record(private)


def _record(private: RSAPrivateKey | Ed25519PrivateKey) -> str:
    if isinstance(private, Ed25519PrivateKey):
        kind, public = "ed25519", private.public_key().public_bytes_raw()
    else:
        kind = "rsa"
        public = private.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    return f"v=DKIM1; k={kind}; p={base64.b64encode(public).decode()}"


def key(pem: bytes, domain: str, selector: str, *, where: str, passphrase: bytes | None = None) -> Key:
    """A key from PEM. Raises `Misconfigured`, naming `where` it is."""
    try:
        private = serialization.load_pem_private_key(pem, passphrase)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise Misconfigured(f"{where}: is no private key in PEM, or the passphrase is another") from None
    domain = domain.lower()
    if isinstance(private, RSAPrivateKey):
        if private.key_size < _MIN_BITS:
            raise Misconfigured(f"{where}: an RSA key needs {_MIN_BITS} bits or more")
        return Key(
            domain,
            selector,
            "rsa-sha256",
            lambda data: private.sign(data, padding.PKCS1v15(), hashes.SHA256()),
        )
    if isinstance(private, Ed25519PrivateKey):
        # RFC 8463 3: the key signs the hash.
        return Key(
            domain,
            selector,
            "ed25519-sha256",
            lambda data: private.sign(hashlib.sha256(data).digest()),
        )
    raise Misconfigured(f"{where}: DKIM knows RSA and Ed25519 keys only")


def _load(settings: DkimSettings, where: str) -> Key:
    path: Path = settings.key_file
    try:
        pem = path.read_bytes()
    except OSError as error:
        raise Misconfigured(f"{where}: {path} cannot be read: {error.strerror}") from None
    return key(pem, settings.domain, settings.selector, where=f"{where}: {path}")


def _sign(submission: Submission, keys: Sequence[Key]) -> None:
    body = dkim.BodyHash()
    for piece in submission.tail.chunks(_PIECE):
        body.update(piece)
    digest = body.digest()
    head = submission.head
    now = int(time.time())
    fields = [
        dkim.signature(
            head,
            digest,
            algorithm=one.algorithm,
            domain=one.domain,
            selector=one.selector,
            at=now,
            sign=one.sign,
        )
        for one in keys
    ]
    submission.head = b"".join(fields) + head


def _domain(from_: str) -> str:
    """The author's domain, as DNS has it."""
    domain = domain_of(from_.rpartition("<")[2].rstrip("> "))
    try:
        return domain.encode("idna").decode() if not domain.isascii() else domain.lower()
    except UnicodeError:
        return ""
