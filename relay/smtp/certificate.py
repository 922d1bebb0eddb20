"""A listener's certificate, renewed under way: connections made after a renewal get the new one."""

import ssl
from pathlib import Path

from relay.core.errors import Misconfigured
from relay.observe import facts


class Certificate:
    """Certificate and key of a listener. `context` stays the same object; what it presents may change."""

    def __init__(self, certificate: Path, key: Path, where: str) -> None:
        """Raises `Misconfigured`, naming `where` the setting is."""
        self._certificate = certificate
        self._key = key
        self._where = where
        self._version = self._look()
        self.context = self._load(_new_context())

    def refresh(self) -> None:
        """Load the files again if they have changed. What cannot be used is logged, and the old one stays."""
        version = self._look()
        if version == self._version:
            return
        self._version = version
        try:
            # A context that failed half-way would present a certificate without its key.
            self._load(_new_context())
            self._load(self.context)
        except Misconfigured as error:
            facts.certificate_kept(str(self._certificate), str(error))
        else:
            facts.certificate_reloaded(str(self._certificate))

    def _look(self) -> tuple[tuple[int, int, int], ...]:
        found = []
        for path in (self._certificate, self._key):
            try:
                status = path.stat()
            except OSError:
                found.append((0, 0, 0))
            else:
                found.append((status.st_mtime_ns, status.st_size, status.st_ino))
        return tuple(found)

    def _load(self, context: ssl.SSLContext) -> ssl.SSLContext:
        for path in (self._certificate, self._key):
            try:
                path.open("rb").close()
            except OSError as error:
                raise Misconfigured(f"{self._where}: {path} cannot be read: {error.strerror}") from None
        try:
            context.load_cert_chain(self._certificate, self._key, password=lambda: "")
        except ssl.SSLError as error:
            reason = (error.reason or "not in PEM format").replace("_", " ").lower()
            raise Misconfigured(
                f"{self._where}: {self._certificate} and {self._key} are not a certificate and its key: {reason}"
            ) from None
        return context


def _new_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
