"""Webhook signatures: fixed vectors, the vendors' own libraries, and everything that must not pass."""

import json
from collections.abc import Callable
from datetime import UTC, datetime

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import pytest
import svix.webhooks

from providers import signatures
from providers.azure.signing import sign as azure_sign
from providers.ses.signing import Keys, signed
from providers.webhook.payload import signature
from relay.core.provider import NotAuthentic

AT = 1767323045
NOW = AT + 10

SVIX_SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"
SVIX_BODY = b'{"type":"email.sent"}'
SVIX = {
    "svix-id": "msg_test1",
    "svix-timestamp": str(AT),
    "svix-signature": "v1,rH2ptkfjdLwJ7hHmriT2GqVzBH3JTYKqKN6Xcs5zQ20=",
}
MAILGUN = {
    "timestamp": str(AT),
    "token": "a" * 50,
    "signature": "4cc82676fefa82f47d348f356718adacaa0cf7b64dce883902dd3678c99394e6",
}
SENDGRID_KEY = (
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEb/A7lJJBzh2t1DUZ5pYOCoW0GmmgXDKBA6orzhWUyhY8T3U6Vb8B3FP2wLDH7ueLQMb/fSWpbiKC"
    "uYnO9xwUSg=="
)
SENDGRID_SIGNATURE = (
    "MEUCIFLxTereguJbUll4qOlLU/3EyO2Ioy13X7dnx1V0W8IBAiEAuAPtCBx4G/kR2CciSVN6Bkf+hCIEaB2tMQ4VbY4mOqw="
)
SENDGRID_BODY = b'[{"event":"delivered"}]\r\n'


def test_vectors_verify() -> None:
    assert signatures.standard(SVIX_SECRET, SVIX, SVIX_BODY, prefix="svix", now=NOW) == "msg_test1"
    signatures.mailgun("key-sekret", MAILGUN, now=NOW)
    signatures.hex_hmac(
        "sekret",
        "2d89f238bde004637820cff385a70cdd4d18725512242429c6d607214d4a45a5",
        b'{"type":"activity.sent"}',
    )
    signatures.hex_hmac(
        "sekret", "c59c35455a9dde2154113227281085b7c34b44a5f18bc0ff84189499bf8e9cb2", b'{"events":[]}'
    )
    signatures.sendgrid(SENDGRID_KEY, SENDGRID_SIGNATURE, str(AT), SENDGRID_BODY, now=NOW)


def _sendgrid(
    body: bytes = SENDGRID_BODY,
    signature: str | None = SENDGRID_SIGNATURE,
    at: str | None = str(AT),
    now: float = NOW,
) -> None:
    signatures.sendgrid(SENDGRID_KEY, signature, at, body, now=now)


def _svix(body: bytes = SVIX_BODY, now: float = NOW, secret: str = SVIX_SECRET, **more: str) -> None:
    headers = {**SVIX, **{name.replace("_", "-"): value for name, value in more.items()}}
    signatures.standard(secret, headers, body, prefix="svix", now=now)


@pytest.mark.parametrize(
    "forged",
    [
        lambda: _svix(SVIX_BODY + b" "),
        lambda: _svix(svix_id="msg_test2"),
        lambda: _svix(svix_timestamp=str(AT + 1)),
        lambda: _svix(svix_timestamp=""),
        lambda: _svix(svix_signature=""),
        lambda: _svix(svix_signature=SVIX["svix-signature"].replace("v1,", "v2,")),
        lambda: _svix(svix_signature="v1,ü"),
        lambda: _svix(now=AT + 301),
        lambda: _svix(now=AT - 301),
        lambda: _svix(secret="whsec_not base64"),
        lambda: signatures.mailgun("other", MAILGUN, now=NOW),
        lambda: signatures.mailgun("key-sekret", {**MAILGUN, "token": "b" * 50}, now=NOW),
        lambda: signatures.mailgun("key-sekret", {**MAILGUN, "signature": None}, now=NOW),
        lambda: signatures.mailgun("key-sekret", {}, now=NOW),
        lambda: signatures.mailgun("key-sekret", MAILGUN, now=AT + 301),
        lambda: signatures.hex_hmac("sekret", None, b"{}"),
        lambda: signatures.hex_hmac("sekret", "0" * 64, b"{}"),
        lambda: _sendgrid(SENDGRID_BODY.rstrip()),
        lambda: _sendgrid(at=str(AT + 1)),
        lambda: _sendgrid(at=None),
        lambda: _sendgrid(signature=None),
        lambda: _sendgrid(signature="not base64!"),
        lambda: _sendgrid(now=AT + 301),
        lambda: signatures.sendgrid("bm8ga2V5", SENDGRID_SIGNATURE, str(AT), SENDGRID_BODY, now=NOW),
    ],
)
def test_what_is_forged_or_old_does_not_pass(forged: Callable[[], None]) -> None:
    with pytest.raises(NotAuthentic) as error:
        forged()
    assert "sekret" not in str(error.value)


def test_while_a_secret_is_replaced_either_signature_will_do() -> None:
    _svix(svix_signature=f"v1,AAAA {SVIX['svix-signature']}")


def test_svix_takes_what_we_sign_and_we_take_what_svix_signs() -> None:
    body = json.dumps({"a": "ü"}).encode()
    ours = signature(SVIX_SECRET, "pillarbox-1-2", body)
    svix.webhooks.Webhook(SVIX_SECRET).verify(body, ours)
    moment = datetime.fromtimestamp(AT, UTC)
    theirs = svix.webhooks.Webhook(SVIX_SECRET).sign("msg_1", moment, body.decode())
    headers = {"webhook-id": "msg_1", "webhook-timestamp": str(AT), "webhook-signature": theirs}
    assert signatures.standard(SVIX_SECRET, headers, body, now=NOW) == "msg_1"


@pytest.mark.parametrize("token", [None, "session/token+with=signs"])
@pytest.mark.parametrize("body", [b"", b'{"a": 1}', bytes(range(256))])
def test_our_aws_signature_is_botocores(token: str | None, body: bytes) -> None:
    url = "https://email.eu-west-1.amazonaws.com/v2/email/outbound-emails"
    ours = signed("POST", url, body, Keys("AKIA", "secret/key", token), "eu-west-1")
    moment = datetime.strptime(ours["x-amz-date"], "%Y%m%dT%H%M%SZ")
    headers = {"Content-Type": "application/json"}
    request = botocore.awsrequest.AWSRequest("POST", url, headers=headers, data=body)
    request.context["timestamp"] = ours["x-amz-date"]
    auth = botocore.auth.SigV4Auth(
        botocore.credentials.Credentials("AKIA", "secret/key", token), "ses", "eu-west-1"
    )
    request.headers["X-Amz-Date"] = f"{moment:%Y%m%dT%H%M%SZ}"
    if token:
        request.headers["X-Amz-Security-Token"] = token
    canonical = auth.canonical_request(request)
    theirs = auth.signature(auth.string_to_sign(request, canonical), request)
    assert ours["authorization"].endswith(f"Signature={theirs}")
    assert "secret/key" not in repr(Keys("AKIA", "secret/key", token))


def test_azures_signature_is_made_of_what_its_page_says() -> None:
    # Worked out once with openssl: printf 'POST\n/emails:send?api-version=2025-09-01\n<date>;<host>;<digest>'
    date, host = "Sun, 22 Nov 2026 09:00:00 GMT", "x.communication.azure.com"
    digest, made = azure_sign("POST", "/emails:send?api-version=2025-09-01", host, date, b"{}", b"key")
    assert digest == "RBNvo1WzZ4oRRq0W9+hknpT7T8If536DEMBg9hyq/4o="
    assert made == "VnGogXxi5lxvStlop8Xemt37Ugfw+887etXHNT55fd4="
