"""The vendors' own libraries send to the fakes: proof that these speak the vendors' dialects."""

import warnings
from collections.abc import Iterator
from typing import Any

import pytest

from tests.providers.fakery import FakeServer

with warnings.catch_warnings():
    # Some of these libraries use what their own dependencies have given up.
    warnings.simplefilter("ignore")
    import boto3
    import botocore.config
    import botocore.exceptions
    import mailersend
    import mailjet_rest
    import mailtrap
    import postmarker.core
    import postmarker.exceptions
    import resend
    import sendgrid
    from mailgun.client import Client as MailgunClient
    from sendgrid.helpers.mail import Mail

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def server(fake_server: FakeServer) -> Iterator[FakeServer]:
    return fake_server


def only(server: FakeServer, vendor: str) -> Any:
    (kept,) = server.fakes[vendor].kept
    return kept


def ses(server: FakeServer, secret: str | None = None) -> Any:
    return boto3.client(
        "sesv2",
        region_name="eu-west-1",
        endpoint_url=server.url("ses"),
        aws_access_key_id="AKIAFAKE",
        aws_secret_access_key=secret or "fake-key",
        config=botocore.config.Config(retries={"total_max_attempts": 1}),
    )


def test_boto3_sends_raw_mail(server: FakeServer) -> None:
    answer = ses(server).send_email(
        Content={"Raw": {"Data": b"From: a@example.com\r\nTo: jane@example.org\r\n\r\nHello\r\n"}},
        Destination={"ToAddresses": ["jane@example.org"]},
        EmailTags=[{"Name": "pillarbox", "Value": "1-2"}],
    )
    kept = only(server, "ses")
    assert (answer["MessageId"], kept.token, kept.recipients) == (kept.id, "1.2", ("jane@example.org",))
    assert kept.raw.endswith(b"Hello\r\n")
    assert ses(server).get_account()["SendQuota"]["MaxSendRate"] == 14.0


@pytest.mark.parametrize(
    ("local", "error"),
    [
        ("refused", "MessageRejected"),
        ("throttled", "TooManyRequestsException"),
        ("suspended", "SendingPausedException"),
        ("busy", "ServiceUnavailable"),
    ],
)
def test_boto3_reads_the_errors(server: FakeServer, local: str, error: str) -> None:
    with pytest.raises(botocore.exceptions.ClientError) as raised:
        ses(server).send_email(
            Content={"Raw": {"Data": b"From: a@example.com\r\n\r\nHello\r\n"}},
            Destination={"ToAddresses": [f"{local}@example.org"]},
        )
    assert raised.value.response["Error"]["Code"] == error


def test_boto3_with_a_wrong_key_is_refused(server: FakeServer) -> None:
    with pytest.raises(botocore.exceptions.ClientError) as raised:
        ses(server, "wrong").get_account()
    assert raised.value.response["Error"]["Code"] == "SignatureDoesNotMatch"


def test_sendgrid(server: FakeServer) -> None:
    client = sendgrid.SendGridAPIClient("fake-key", host=server.url("sendgrid"))
    mail = Mail(
        "a@example.com", "jane@example.org", "hello", plain_text_content="text", html_content="<p>html</p>"
    )
    answer = client.send(mail)
    kept = only(server, "sendgrid")
    assert (answer.status_code, answer.headers["X-Message-Id"]) == (202, kept.id)
    assert (kept.parts.text, kept.parts.html) == ("text", "<p>html</p>")
    with pytest.raises(Exception, match="401"):
        sendgrid.SendGridAPIClient("wrong", host=server.url("sendgrid")).send(mail)


def test_postmark(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    # It joins addresses so that only a host is left of the one given.
    monkeypatch.setattr(postmarker.core, "urljoin", lambda base, path: base.rstrip("/") + path)
    client = postmarker.core.PostmarkClient(
        server_token="fake-key", max_retries=0, root_api_url=f"{server.url('postmark')}/"
    )
    answer = client.emails.send(From="a@example.com", To="jane@example.org", Subject="hello", TextBody="text")
    assert answer["MessageID"] == only(server, "postmark").id
    with pytest.raises(postmarker.exceptions.ClientError, match="inactive"):
        client.emails.send(From="a@example.com", To="refused@example.org", Subject="hello", TextBody="text")
    batch = client.emails.send_batch(
        {"From": "a@example.com", "To": "john@example.org", "Subject": "one", "TextBody": "text"},
        {"From": "a@example.com", "To": "refused@example.org", "Subject": "two", "TextBody": "text"},
    )
    assert [one["ErrorCode"] for one in batch] == [0, 406]


def test_resend(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resend, "api_url", server.url("resend"))
    monkeypatch.setattr(resend, "api_key", "fake-key")
    mail = {"from": "a@example.com", "to": ["jane@example.org"], "subject": "hello", "html": "<p>html</p>"}
    first = resend.Emails.send(mail, {"idempotency_key": "once"})
    assert (
        resend.Emails.send(mail, {"idempotency_key": "once"})["id"]
        == first["id"]
        == only(server, "resend").id
    )
    with pytest.raises(resend.exceptions.ResendError):
        resend.Emails.send({**mail, "to": ["throttled@example.org"]})


def test_mailgun(server: FakeServer) -> None:
    with MailgunClient(auth=("api", "fake-key"), api_url=server.url("mailgun")) as client:
        answer = client.messages.create(
            data={"from": "a@example.com", "to": "jane@example.org", "subject": "hello", "text": "text"},
            domain="example.com",
        )
        assert answer.json()["id"].strip("<>") == only(server, "mailgun").id


def test_mailjet(server: FakeServer) -> None:
    client = mailjet_rest.Client(
        auth=("public", "fake-key"), version="v3.1", api_url=f"{server.url('mailjet')}/"
    )
    mail = {
        "From": {"Email": "a@example.com"},
        "To": [{"Email": "jane@example.org"}],
        "Subject": "s",
        "TextPart": "t",
    }
    answer = client.send.create(data={"Messages": [mail]})
    assert answer.status_code == 200
    assert str(answer.json()["Messages"][0]["To"][0]["MessageID"]) == only(server, "mailjet").id


def test_mailtrap(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    # It knows no address but https.
    monkeypatch.setattr(
        "mailtrap.http.HttpClient._url", lambda _, path: f"{server.url('mailtrap')}/{path.lstrip('/')}"
    )
    client = mailtrap.MailtrapClient(token="fake-key")
    sender, to = mailtrap.Address("a@example.com"), mailtrap.Address("jane@example.org", "Jane")
    answer = client.send(
        mailtrap.Mail(sender=sender, to=[to], subject="hello", text="text", category="invoice")
    )
    kept = only(server, "mailtrap")
    assert (answer["message_ids"], kept.tag, kept.parts.to[0].name) == ([kept.id], "invoice", "Jane")
    with pytest.raises(mailtrap.AuthorizationError):
        mailtrap.MailtrapClient(token="wrong").send(
            mailtrap.Mail(sender=sender, to=[to], subject="s", text="t")
        )


def test_mailersend(server: FakeServer) -> None:
    client = mailersend.MailerSendClient(
        api_key="fake-key", base_url=f"{server.url('mailersend')}/v1/", max_retries=0
    )
    mail = mailersend.EmailBuilder().from_email("a@example.com", "Ann").to("jane@example.org", "Jane")
    answer = client.emails.send(mail.subject("hello").text("text").tag("invoice").build())
    kept = only(server, "mailersend")
    assert (answer.status_code, kept.tag, kept.parts.to[0].name) == (202, "invoice", "Jane")
