"""A fake Amazon SNS with a certificate of its own. https://docs.aws.amazon.com/sns/latest/dg/sns-message-and-json-formats.html"""

import base64
import hashlib
import secrets
from collections.abc import Mapping
from datetime import timedelta
from functools import cached_property
from urllib.parse import parse_qs, urlencode

import orjson
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

from providers import signatures
from providers.fakes.posting import Post, iso
from providers.fakes.wire import Request, Response, uuid_like
from relay.core.clock import now

TOPIC = "arn:aws:sns:eu-west-1:123456789012:pillarbox-fake"
_HASHES: Mapping[str, type[hashes.HashAlgorithm]] = {"1": hashes.SHA1, "2": hashes.SHA256}


class Sns:
    """One topic with one subscription. `version` of the signature is the topic's attribute: "1" or "2"."""

    def __init__(self, topic: str = TOPIC, version: str = "1") -> None:
        self.topic = topic
        self.version = version
        self.confirmed = False
        self._token = secrets.token_hex(40)

    def answer(self, request: Request) -> Response | None:
        """The certificate, or what a confirmation is answered."""
        if request.path == self._certificate_path:
            return Response(200, self.certificate, {"content-type": "binary/octet-stream"})
        asked = {name: values[0] for name, values in parse_qs(request.query).items()}
        if asked.get("Action") != "ConfirmSubscription":
            return None
        if asked.get("Token") != self._token or asked.get("TopicArn") != self.topic:
            return Response(400, b"<ErrorResponse/>", {"content-type": "text/xml"})
        self.confirmed = True
        return Response(200, b"<ConfirmSubscriptionResponse/>", {"content-type": "text/xml"})

    def notification(self, here: str, said: str, subject: str | None = None) -> Post:
        """`here` is where this is served."""
        more = {"Subject": subject} if subject else {}
        return self._post(here, "Notification", {**more, "Message": said})

    def confirmation(self, here: str, kind: str = "SubscriptionConfirmation") -> Post:
        asked = {"Action": "ConfirmSubscription", "TopicArn": self.topic, "Token": self._token}
        said = {
            "Message": f"You have chosen to subscribe to the topic {self.topic}.",
            "Token": self._token,
            "SubscribeURL": f"{here}/?{urlencode(asked)}",
        }
        return self._post(here, kind, said)

    def message(self, here: str, kind: str, said: Mapping[str, str]) -> dict[str, str]:
        """A signed message; `said` may have any of its fields."""
        message = {
            "Type": kind,
            "MessageId": uuid_like(),
            "TopicArn": self.topic,
            "Timestamp": iso(now()),
            "SignatureVersion": self.version,
            "SigningCertURL": here + self._certificate_path,
            **said,
        }
        signed = self._key.sign(signatures.sns_signed(message), padding.PKCS1v15(), _HASHES[self.version]())
        return {**message, "Signature": base64.b64encode(signed).decode()}

    def _post(self, here: str, kind: str, said: Mapping[str, str]) -> Post:
        message = self.message(here, kind, said)
        headers = {
            # Not JSON's own type, although it is JSON.
            "content-type": "text/plain; charset=UTF-8",
            "x-amz-sns-message-type": kind,
            "x-amz-sns-message-id": message["MessageId"],
            "x-amz-sns-topic-arn": self.topic,
        }
        return Post(orjson.dumps(message), headers)

    @cached_property
    def _key(self) -> rsa.RSAPrivateKey:
        return rsa.generate_private_key(65_537, 2_048)

    @cached_property
    def certificate(self) -> bytes:
        """PEM, signed by itself."""
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.fake.example")])
        start = now() - timedelta(days=1)
        made = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(start + timedelta(days=3_650))
            .sign(self._key, hashes.SHA256())
        )
        return made.public_bytes(serialization.Encoding.PEM)

    @property
    def _certificate_path(self) -> str:
        return f"/SimpleNotificationService-{hashlib.sha256(self.certificate).hexdigest()[:32]}.pem"
