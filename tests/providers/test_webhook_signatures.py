"""Who may tell us of events: what each vendor's fake posts passes, and nothing that differs from it does."""

import asyncio
import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mailtrap.webhooks import verify_signature
from sendgrid.helpers.eventwebhook import EventWebhook
from svix.webhooks import Webhook

from providers.fakes.posting import Hook
from providers.fakes.sns import TOPIC, Sns
from relay.core.errors import Misconfigured
from relay.core.provider import NotAuthentic, Provider, WebhookAnswer, WebhookRequest
from tests.providers.fakery import HOOK, LOGIN, FakeServer, posted
from tests.providers.webhooks import (
    UNSIGNED,
    VENDORS,
    adapter,
    arrived,
    believer,
    receive,
    request_of,
    source,
)

SIGNED = tuple(one for one in VENDORS if one not in UNSIGNED)
#: those whose signature covers the time
DATED = ("mailgun", "resend", "sendgrid", "ses")


def refused(provider: Provider, request: WebhookRequest) -> str:
    with pytest.raises(NotAuthentic) as error:
        receive(provider, request)
    return str(error.value)


@pytest.mark.parametrize("vendor", SIGNED)
def test_what_the_vendor_signed_is_believed_also_when_it_comes_again(
    fake_server: FakeServer, vendor: str
) -> None:
    request = posted(fake_server, vendor)
    assert receive(believer(fake_server, vendor), request, request) == [None, None]


@pytest.mark.parametrize("vendor", SIGNED)
def test_a_changed_body_is_not(fake_server: FakeServer, vendor: str) -> None:
    request = posted(fake_server, vendor)
    provider = believer(fake_server, vendor)
    body = request.body.replace(b"jane@", b"john@")
    assert body != request.body
    if vendor == "mailgun":
        # Its signature does not cover the body, but is good for the first one only.
        assert receive(provider, request) == [None]
    assert "jane" not in refused(provider, replace(request, body=body))


@pytest.mark.parametrize("vendor", SIGNED)
def test_a_signature_with_another_secret_is_not(fake_server: FakeServer, vendor: str) -> None:
    if vendor == "ses":
        request = posted(fake_server, vendor)
        other = Sns().message(fake_server.url("ses"), "Notification", {"Message": "{}"})
        message = {**json.loads(request.body), "Signature": other["Signature"]}
        request = arrived(json.dumps(message).encode())
    else:
        secret = "whsec_b3RoZXI=" if vendor == "resend" else "another"
        request = posted(fake_server, vendor, Hook(HOOK.url, secret=secret))
    assert refused(believer(fake_server, vendor), request)


@pytest.mark.parametrize("vendor", SIGNED)
def test_without_its_signature_nothing_is(fake_server: FakeServer, vendor: str) -> None:
    request = posted(fake_server, vendor)
    if vendor in {"mailgun", "ses"}:
        body = {
            name: value for name, value in json.loads(request.body).items() if name.lower() != "signature"
        }
        request = replace(request, body=json.dumps(body).encode())
    for name in ("", *request.headers):
        kept = {
            key: value for key, value in request.headers.items() if "signature" not in key and key != name
        }
        assert refused(believer(fake_server, vendor), replace(request, headers=kept))


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize("vendor", DATED)
def test_what_is_too_old_or_from_the_future_is_not(fake_server: FakeServer, vendor: str, ahead: bool) -> None:
    request = posted(fake_server, vendor)
    # Amazon repeats a message for an hour, as it was signed at first.
    age = timedelta(seconds=4_600 if vendor == "ses" else 310) * (-1 if ahead else 1)
    provider = believer(fake_server, vendor)
    assert "old" in refused(provider, replace(request, at=request.at + age))


@pytest.mark.parametrize("vendor", [one for one in DATED if one != "ses"])
def test_how_old_is_too_old_can_be_said(fake_server: FakeServer, vendor: str) -> None:
    request = posted(fake_server, vendor)
    late = replace(request, at=request.at + timedelta(hours=1))
    assert receive(believer(fake_server, vendor, webhook_max_age=7_200), late) == [None]


@pytest.mark.parametrize("vendor", [one for one in SIGNED if one != "ses"])
def test_while_a_key_is_replaced_either_will_do(fake_server: FakeServer, vendor: str) -> None:
    key = fake_server.fakes[vendor].believed["webhook_key"]
    other = {"resend": "whsec_b3RoZXI=", "sendgrid": key}.get(vendor, "other")
    request = posted(fake_server, vendor)
    assert receive(believer(fake_server, vendor, webhook_key=f"{other} {key}"), request) == [None]


@pytest.mark.parametrize("vendor", SIGNED)
def test_without_a_key_nothing_is_believed_and_the_operator_is_told_which_is_missing(
    fake_server: FakeServer, vendor: str
) -> None:
    option = "topics" if vendor == "ses" else "webhook_key"
    assert option in refused(adapter(vendor), posted(fake_server, vendor))


@pytest.mark.parametrize(("vendor", "key"), [("resend", "whsec_not base64!"), ("sendgrid", "bm8ga2V5")])
def test_a_key_that_cannot_be_one_is_said_at_once(vendor: str, key: str) -> None:
    with pytest.raises(Misconfigured, match="webhook_key") as error:
        adapter(vendor, webhook_key=key)
    assert key not in str(error.value)


@pytest.mark.parametrize("vendor", UNSIGNED)
def test_a_user_name_and_a_password_stand_for_a_signature(vendor: str) -> None:
    provider = adapter(vendor, **LOGIN)
    _, login = Hook("https://vendor:s3cret%3Awith%20colon@relay.example/").target()
    assert receive(provider, arrived(b"{}", login)) == [None]
    _, wrong = Hook("https://vendor:wrong@relay.example/").target()
    for headers in (
        {},
        wrong,
        {"authorization": "Basic !"},
        {"authorization": f"Bearer {LOGIN['webhook_user']}"},
    ):
        assert "s3cret" not in refused(adapter(vendor, **LOGIN), arrived(b"{}", headers))
    assert "s3cret" not in repr(provider)
    # The secret part of the URL is what is left without.
    assert receive(adapter(vendor), arrived(b"{}")) == [None]
    with pytest.raises(Misconfigured, match="webhook_password"):
        adapter(vendor, webhook_user="vendor")


# The vendors' own verifiers.


def test_sendgrids_own_library_verifies_what_the_fake_signs(fake_server: FakeServer) -> None:
    request = posted(fake_server, "sendgrid")
    verifier = EventWebhook(fake_server.fakes["sendgrid"].believed["webhook_key"])
    prefix = "x-twilio-email-event-webhook-"
    signature, moment = request.headers[f"{prefix}signature"], request.headers[f"{prefix}timestamp"]
    assert verifier.verify_signature(request.body.decode(), signature, moment)
    assert not verifier.verify_signature(request.body.decode().strip(), signature, moment)


def test_svix_verifies_what_the_fake_signs(fake_server: FakeServer) -> None:
    request = posted(fake_server, "resend")
    Webhook(fake_server.fakes["resend"].believed["webhook_key"]).verify(request.body, dict(request.headers))


def test_mailtraps_own_library_verifies_what_the_fake_signs(fake_server: FakeServer) -> None:
    request = posted(fake_server, "mailtrap")
    given_signature = request.headers["mailtrap-signature"]
    assert verify_signature(request.body.decode(), given_signature, "fake-key")


# SNS.


@pytest.fixture
def sns(fake_server: FakeServer) -> Sns:
    fake = fake_server.fakes["ses"]
    fake.here = fake_server.url("ses")
    made = fake._sns  # type: ignore[attr-defined]
    made.version, made.topic, made.confirmed = "1", TOPIC, False
    return made


def _message(sns: Sns, server: FakeServer, kind: str = "Notification", **said: str) -> WebhookRequest:
    return arrived(json.dumps(sns.message(server.url("ses"), kind, {"Message": "{}", **said})).encode())


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize("subject", [{}, {"Subject": "Amazon SES"}])
def test_both_versions_of_sns_verify(
    fake_server: FakeServer, sns: Sns, version: str, subject: dict[str, str]
) -> None:
    sns.version = version
    assert receive(believer(fake_server, "ses"), _message(sns, fake_server, **subject)) == [None]


def test_the_certificate_is_fetched_once(fake_server: FakeServer, sns: Sns) -> None:
    requests = [_message(sns, fake_server) for _ in range(5)]
    assert receive(believer(fake_server, "ses"), *requests) == [None] * 5
    paths = [one.path for one in fake_server.fakes["ses"].requests if one.path.endswith(".pem")]
    assert len(paths) == 1


@pytest.mark.parametrize(
    "spoil",
    [
        lambda message, _: message.update(SignatureVersion="3"),
        lambda message, _: message.update(Type="Notice"),
        lambda message, _: message.update(Type=["Notification"]),
        lambda message, _: message.update(Subject="added"),
        lambda message, _: message.pop("MessageId"),
        lambda message, _: message.pop("Timestamp"),
        lambda message, _: message.update(Signature="not base64!"),
        lambda message, _: message.update(TopicArn="arn:aws:sns:eu-west-1:666666666666:pillarbox-fake"),
        lambda message, _: message.update(TopicArn=TOPIC.replace("eu-west-1", "us-east-1")),
        lambda message, _: message.pop("SigningCertURL"),
        lambda message, here: message.update(
            SigningCertURL=f"{here}/nowhere/SimpleNotificationService-0.pem"
        ),
        lambda message, here: message.update(SigningCertURL=f"{here}/certificate.pem"),
    ],
)
def test_a_message_of_sns_that_is_not_whole_is_refused(
    fake_server: FakeServer, sns: Sns, spoil: Callable[[dict[str, Any], str], None]
) -> None:
    message = json.loads(_message(sns, fake_server).body)
    spoil(message, fake_server.url("ses"))
    assert refused(believer(fake_server, "ses"), arrived(json.dumps(message).encode()))


_PATH = "/SimpleNotificationService-0123456789abcdef.pem"


@pytest.mark.parametrize(
    "url",
    [
        f"http://sns.eu-west-1.amazonaws.com{_PATH}",
        f"https://sns.eu-west-1.amazonaws.com.evil.example{_PATH}",
        f"https://sns.eu-west-1.amazonaws.com@evil.example{_PATH}",
        f"https://evil@sns.eu-west-1.amazonaws.com{_PATH}",
        f"https://sns.eu-west-1.amazonaws.com:8443{_PATH}",
        f"https://evil.example{_PATH}",
        f"https://evil.example/sns.eu-west-1.amazonaws.com{_PATH}",
        f"https://bucket.s3.amazonaws.com{_PATH}",
        f"https://sns.s3.amazonaws.com.evil.example{_PATH}",
        f"https://sns-eu-west-1.amazonaws.com{_PATH}",
        f"https://xsns.eu-west-1.amazonaws.com{_PATH}",
        f"https://sns.evil.example.amazonaws.com{_PATH}",
        f"https://sns.eu-west-1.amazonaws.com\\@evil.example{_PATH}",
        f"https://sns.eu-west-1.amazonaws.com\n.evil.example{_PATH}",
        f"https://sns.eu-west-1.amazonaws.com{_PATH}?Action=GetTopicAttributes",
        f"https://sns.eu-west-1.amazonaws.com{_PATH}#.pem",
        f"https://sns.eu-west-1.amazonaws.com/?x={_PATH}",
        f"https://sns.eu-west-1.amazonaws.com/evil/..{_PATH}",
        "https://sns.eu-west-1.amazonaws.com/certificate.pem",
        f"file:///etc{_PATH}",
        "https://[::1",
        "",
        None,
    ],
)
def test_a_certificate_from_anywhere_but_sns_is_not_even_looked_at(
    fake_server: FakeServer, sns: Sns, url: str | None
) -> None:
    said = {"Message": "{}", **({"SigningCertURL": url} if url is not None else {})}
    message: dict[str, Any] = sns.message(fake_server.url("ses"), "Notification", said)
    message["SigningCertURL"] = url
    before = len(fake_server.fakes["ses"].requests)
    words = refused(adapter("ses", topics=TOPIC), arrived(json.dumps(message).encode()))
    assert "SNS" in words
    assert len(fake_server.fakes["ses"].requests) == before


def test_raw_delivery_leaves_out_the_signature_so_it_is_refused(fake_server: FakeServer, sns: Sns) -> None:
    request = _message(sns, fake_server)
    words = refused(believer(fake_server, "ses"), replace(request, headers={"x-amz-sns-rawdelivery": "true"}))
    assert "raw message delivery" in words


def test_a_certificate_that_cannot_be_fetched_now_is_for_later(sns: Sns) -> None:
    message = sns.message("http://127.0.0.1:9", "Notification", {"Message": "{}"})
    provider = adapter("ses", topics=TOPIC, certificate_hosts="127.0.0.1:9")
    assert receive(provider, arrived(json.dumps(message).encode())) == [WebhookAnswer(503)]


def test_a_subscription_to_a_topic_of_ours_is_confirmed(fake_server: FakeServer, sns: Sns) -> None:
    request = request_of(sns.confirmation(fake_server.url("ses")))
    assert receive(believer(fake_server, "ses"), request) == [WebhookAnswer(200)]
    assert sns.confirmed


def test_one_to_another_topic_is_not(fake_server: FakeServer, sns: Sns) -> None:
    sns.topic = "arn:aws:sns:eu-west-1:666666666666:pillarbox-fake"
    refused(believer(fake_server, "ses"), request_of(sns.confirmation(fake_server.url("ses"))))
    assert not sns.confirmed


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/?Action=ConfirmSubscription",
        "http://169.254.169.254/latest/meta-data/",
        "{here}/?Action=DeleteTopic&TopicArn={topic}",
        "{here}/?Action=ConfirmSubscription&TopicArn=arn:aws:sns:eu-west-1:666666666666:x",
        "{here}/?Action=ConfirmSubscription&Action=DeleteTopic&TopicArn={topic}",
    ],
)
def test_a_confirmation_elsewhere_is_not_made_even_when_it_is_signed(
    fake_server: FakeServer, sns: Sns, url: str
) -> None:
    here = fake_server.url("ses")
    said = {"SubscribeURL": url.format(here=here, topic=TOPIC), "Token": "t"}
    request = _message(sns, fake_server, "SubscriptionConfirmation", **said)
    before = len(fake_server.fakes["ses"].requests)
    refused(believer(fake_server, "ses"), request)
    asked = [one.path for one in fake_server.fakes["ses"].requests[before:]]
    assert [path for path in asked if not path.endswith(".pem")] == []


def test_the_end_of_a_subscription_is_taken_note_of_and_nothing_more(
    fake_server: FakeServer, sns: Sns
) -> None:
    request = request_of(sns.confirmation(fake_server.url("ses"), "UnsubscribeConfirmation"))
    assert receive(believer(fake_server, "ses"), request) == [WebhookAnswer(200)]
    assert not sns.confirmed


@pytest.mark.parametrize("topics", ["pillarbox", ["arn:aws:sqs:eu-west-1:123456789012:x"], {"a": 1}, 7])
def test_topics_must_be_topics(topics: Any) -> None:
    with pytest.raises(Misconfigured, match="topics"):
        adapter("ses", topics=topics)


# Handshakes of the others.


def test_event_grid_is_answered_with_its_code() -> None:
    event = {
        "eventType": "Microsoft.EventGrid.SubscriptionValidationEvent",
        "data": {"validationCode": "512d38b6"},
    }
    (answer,) = receive(adapter("azure"), arrived(json.dumps([event]).encode()))
    assert answer == WebhookAnswer(200, b'{"validationResponse":"512d38b6"}', "application/json")
    assert refused(adapter("azure", **LOGIN), arrived(json.dumps([event]).encode()))


def test_mailersends_test_comes_before_anybody_has_the_secret() -> None:
    test = arrived(b'{"type": "webhook.test", "data": {}}')
    assert receive(adapter("mailersend"), test) == [WebhookAnswer(200)]


# Noise.

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
#: the names that vendors use, with anything under them
_NAMES = st.sampled_from(
    re.findall(
        r"\S+",
        "event event-data events type data msys message_event eventType notificationType bounce mail tags Message "
        "timestamp time ts_epoch created_at bounce_class delivery-status code reason response status RecordType "
        "email to recipient recipients destination bouncedRecipients headers message message-id email_id morph "
        "pillarbox CustomID Metadata custom_variables rcpt_meta user-variables X-Mailin-custom signature token "
        "hard_bounce blocked error open click link Type TopicArn Timestamp SigningCertURL",
    )
)
_WORDS = st.sampled_from(
    re.findall(
        r"\S+",
        "bounce Bounce dropped failed delivered email.bounced activity.hard_bounced soft_bounce permanent 17.21 "
        "SpamComplaint SubscriptionChange Notification {} 1e999 2026-01-02T03:04:05Z",
    )
)
_LIKE_THEIRS = st.recursive(
    _WORDS | _JSON,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=6),
    max_leaves=20,
)


@pytest.mark.parametrize("vendor", VENDORS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(said=_LIKE_THEIRS)
def test_reading_raises_nothing_whatever_comes(vendor: str, said: Any) -> None:
    provider = _READERS[vendor]
    body = json.dumps(said).encode("utf-8", "surrogatepass")
    if vendor == "ses":
        body = json.dumps({"Message": json.dumps(said)}).encode()
    for report in source(provider).read(arrived(body)):
        assert report.at.utcoffset() == timedelta(0)
        assert report.original


@pytest.mark.parametrize("vendor", VENDORS)
@settings(max_examples=60, deadline=None)
@given(
    body=st.binary(max_size=200) | _LIKE_THEIRS.map(lambda said: json.dumps(said).encode()),
    headers=st.dictionaries(
        st.sampled_from(
            (
                "authorization",
                "signature",
                "mailtrap-signature",
                "svix-id",
                "svix-timestamp",
                "svix-signature",
            )
        ),
        st.text(st.characters(max_codepoint=255), max_size=20),
    ),
)
def test_noise_is_not_believed(vendor: str, body: bytes, headers: dict[str, str]) -> None:
    try:
        answer = asyncio.run(source(_GUARDED[vendor]).receive(arrived(body, headers)))
    except NotAuthentic:
        return
    assert (vendor, answer) == ("mailersend", WebhookAnswer(200)), "only a test tells nothing"


_READERS = {vendor: adapter(vendor) for vendor in VENDORS}
_KEYS = {
    "resend": "whsec_b3RoZXI=",
    "sendgrid": (
        "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEb/A7lJJBzh2t1DUZ5pYOCoW0GmmgXDKBA6orzhWUyhY8T3U6Vb8B3FP2wLDH7ueLQMb/fSWpbiKC"
        "uYnO9xwUSg=="
    ),
}
_GUARDED = {
    vendor: adapter(
        vendor,
        **(
            LOGIN
            if vendor in UNSIGNED
            else {"topics": TOPIC}
            if vendor == "ses"
            else {"webhook_key": _KEYS.get(vendor, "another")}
        ),
    )
    for vendor in VENDORS
}
