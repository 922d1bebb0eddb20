"""What every word of every vendor's events means, in payloads of the shape they come in."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from providers.told import reply_of, token_of
from relay.core.bounce import Bounce, BounceClass, BounceReason
from relay.core.event import EventKind
from relay.core.provider import Report
from tests.providers.webhooks import VENDORS, read

TOKEN = "17.21"
AT = 1767323045
WHEN = datetime.fromtimestamp(AT, UTC)
ISO = "2026-01-02T03:04:05Z"
JANE = "jane@example.org"

HARD, SOFT, BLOCK = BounceClass.HARD, BounceClass.SOFT, BounceClass.BLOCK
R = BounceReason
K = EventKind

Row = tuple[dict[str, Any], EventKind, BounceClass | None, BounceReason | None]


def one(vendor: str, event: Any, **headers: str) -> Report:
    (report,) = read(vendor, json.dumps(event).encode(), **headers)
    return report


def check(report: Report, row: Row) -> None:
    _, kind, kind_of_bounce, reason = row
    assert report.kind is kind, report
    assert report.original, report
    if kind_of_bounce is None:
        assert report.bounce is None, report
    else:
        assert report.bounce == Bounce(kind_of_bounce, reason or R.OTHER), report


# SendGrid.


def sendgrid(event: str, **more: Any) -> dict[str, Any]:
    return {
        "email": JANE,
        "timestamp": AT,
        "smtp-id": "<14c5d75ce93.dfd.64b469@ismtpd-555>",
        "event": event,
        "category": "receipt",
        "sg_event_id": "rbtnWrG1DVDGGGFHFyun0A",
        "sg_message_id": "14c5d75ce93.dfd.64b469.filter0001.16648.5515E0B88.000000000000000000000",
        "pillarbox": TOKEN,
        **more,
    }


def bounced(classification: str, status: str = "5.0.0", kind: str = "bounce", **more: Any) -> dict[str, Any]:
    words = {
        "status": status,
        "type": kind,
        "reason": f"500 {status} refused",
        "tls": 1,
        "ip": "198.51.100.9",
    }
    return sendgrid("bounce", bounce_classification=classification, **words, **more)


@pytest.mark.parametrize(
    "row",
    [
        (sendgrid("processed", pool={"name": "new", "id": 210}), K.SENT, None, None),
        (sendgrid("deferred", response="400 try again later", attempt="5"), K.DEFERRED, None, None),
        (sendgrid("delivered", response="250 OK", ip="198.51.100.9", tls=1), K.DELIVERED, None, None),
        (bounced("Invalid Address"), K.BOUNCED, HARD, R.NO_SUCH_USER),
        (bounced("Unclassified", "5.1.1"), K.BOUNCED, HARD, R.NO_SUCH_USER),
        (bounced("Mailbox Unavailable", "5.2.1"), K.BOUNCED, HARD, R.INACTIVE),
        (bounced("Mailbox Unavailable", "5.2.2"), K.BOUNCED, SOFT, R.MAILBOX_FULL),
        (bounced("Mailbox Unavailable", "4.2.1"), K.BOUNCED, SOFT, R.OTHER),
        (bounced("Content"), K.BOUNCED, BLOCK, R.SPAM),
        (bounced("Reputation"), K.BOUNCED, BLOCK, R.REPUTATION),
        (bounced("Frequency or Volume Too High"), K.BOUNCED, BLOCK, R.RATE),
        (bounced("Invalid Address", kind="blocked"), K.BOUNCED, BLOCK, R.POLICY),
        (bounced("Technical Failure"), K.BOUNCED, SOFT, R.OTHER),
        (bounced("Unclassified"), K.BOUNCED, SOFT, R.OTHER),
        (bounced(""), K.BOUNCED, SOFT, R.OTHER),
        (sendgrid("bounce"), K.BOUNCED, HARD, R.OTHER),
        (sendgrid("dropped", reason="Bounced Address", status="5.0.0"), K.BOUNCED, HARD, R.SUPPRESSED),
        (sendgrid("dropped", reason="Unsubscribed Address"), K.BOUNCED, SOFT, R.SUPPRESSED),
        (sendgrid("dropped", reason="Spam Reporting Address"), K.BOUNCED, SOFT, R.SUPPRESSED),
        (sendgrid("dropped", reason="Invalid"), K.BOUNCED, HARD, R.NO_SUCH_USER),
        (sendgrid("dropped", reason="Invalid SMTPAPI header"), K.BOUNCED, SOFT, R.OTHER),
        (sendgrid("dropped", reason="Spam Content"), K.BOUNCED, BLOCK, R.SPAM),
        (sendgrid("dropped", reason="Recipient List over Package Quota"), K.BOUNCED, SOFT, R.RATE),
        (sendgrid("open", useragent="Mozilla/5.0", ip="203.0.113.7"), K.OPENED, None, None),
        (sendgrid("click", url="https://x.example/", url_offset={"index": 0}), K.CLICKED, None, None),
        (sendgrid("spamreport"), K.COMPLAINED, None, None),
        (sendgrid("unsubscribe"), K.UNSUBSCRIBED, None, None),
        (sendgrid("group_unsubscribe", asm_group_id=10), K.UNSUBSCRIBED, None, None),
        (sendgrid("group_resubscribe", asm_group_id=10), K.UNKNOWN, None, None),
        (sendgrid("yodelled"), K.UNKNOWN, None, None),
    ],
)
def test_sendgrid(row: Row) -> None:
    report = one("sendgrid", [row[0]])
    check(report, row)
    assert (report.at, report.token, report.recipient) == (WHEN, TOKEN, JANE)
    assert (report.ref, report.key) == ("14c5d75ce93", "rbtnWrG1DVDGGGFHFyun0A")


def test_sendgrids_machines_are_told_apart_and_its_sending_address_is_not_the_readers() -> None:
    assert one("sendgrid", [sendgrid("open", sg_machine_open=True)]).detail["machine"] is True
    assert "ip" not in one("sendgrid", [sendgrid("delivered", ip="198.51.100.9")]).detail


def test_of_an_asynchronous_bounce_sendgrid_tells_the_address_only() -> None:
    event = sendgrid("bounce", type="bounce", status="5.1.1", reason="550 5.1.1 unknown")
    for name in ("pillarbox", "sg_message_id"):
        del event[name]
    report = one("sendgrid", [event])
    assert (report.token, report.ref, report.recipient) == (None, None, JANE)


# Mailgun.


def mailgun(event: str, **more: Any) -> dict[str, Any]:
    return {
        "signature": {"timestamp": str(AT), "token": "a" * 50, "signature": "0" * 64},
        "event-data": {
            "event": event,
            "id": "G9Bn5sl1TC6nu79C8C0bwg",
            "timestamp": AT + 0.5,
            "log-level": "info",
            "recipient": JANE,
            "tags": [],
            "user-variables": {"pillarbox": TOKEN},
            "message": {"headers": {"message-id": "20260102.1@example.com", "to": JANE}, "size": 512},
            "flags": {"is-test-mode": False},
            **more,
        },
    }


def failed(
    reason: str, code: int, enhanced: str = "", words: str = "", severity: str = "permanent", **more: Any
):
    status = {"code": code, "enhanced-code": enhanced, "message": words, "description": "", "attempt-no": 1}
    return mailgun("failed", severity=severity, reason=reason, **{"delivery-status": status}, **more)


@pytest.mark.parametrize(
    "row",
    [
        (mailgun("accepted"), K.SENT, None, None),
        (
            mailgun("delivered", **{"delivery-status": {"code": 250, "message": "OK"}}),
            K.DELIVERED,
            None,
            None,
        ),
        (failed("generic", 498, words="No MX for x", severity="temporary"), K.DEFERRED, None, None),
        (failed("bounce", 550, "5.1.1", "No such user"), K.BOUNCED, HARD, R.NO_SUCH_USER),
        (failed("bounce", 550, words="5.1.1 No such user"), K.BOUNCED, HARD, R.NO_SUCH_USER),
        (failed("bounce", 550, words="who is that?"), K.BOUNCED, SOFT, R.OTHER),
        (failed("bounce", 550, words="No such user here"), K.BOUNCED, HARD, R.NO_SUCH_USER),
        (failed("bounce", 552, words="over quota"), K.BOUNCED, SOFT, R.MAILBOX_FULL),
        (failed("bounce", 550, "5.2.2", "full"), K.BOUNCED, SOFT, R.MAILBOX_FULL),
        (failed("generic", 550, "5.7.1", "spam"), K.BOUNCED, BLOCK, R.POLICY),
        (failed("espblock", 421, "", "go away"), K.BOUNCED, BLOCK, R.REPUTATION),
        (failed("old", 602, words="Too old"), K.BOUNCED, SOFT, R.EXPIRED),
        (failed("suppress-bounce", 605), K.BOUNCED, HARD, R.SUPPRESSED),
        (failed("generic", 605), K.BOUNCED, HARD, R.SUPPRESSED),
        (failed("suppress-complaint", 607), K.BOUNCED, SOFT, R.SUPPRESSED),
        (failed("suppress-unsubscribe", 606), K.BOUNCED, SOFT, R.SUPPRESSED),
        (mailgun("failed", severity="permanent", reason="bounce"), K.BOUNCED, HARD, R.OTHER),
        (mailgun("rejected", reject={"reason": "virus"}), K.BOUNCED, BLOCK, R.POLICY),
        (mailgun("opened", ip="203.0.113.7"), K.OPENED, None, None),
        (mailgun("clicked", url="https://x.example/"), K.CLICKED, None, None),
        (mailgun("unsubscribed"), K.UNSUBSCRIBED, None, None),
        (mailgun("complained"), K.COMPLAINED, None, None),
        (mailgun("stored"), K.UNKNOWN, None, None),
        (mailgun("yodelled"), K.UNKNOWN, None, None),
    ],
)
def test_mailgun(row: Row) -> None:
    report = one("mailgun", row[0])
    check(report, row)
    assert (report.at, report.token, report.recipient) == (WHEN.replace(microsecond=500_000), TOKEN, JANE)
    assert (report.ref, report.key) == ("20260102.1@example.com", "G9Bn5sl1TC6nu79C8C0bwg")


def test_mailgun_tells_bots_apart() -> None:
    client = {"user-agent": "Mozilla/5.0", "bot": "gmail"}
    assert one("mailgun", mailgun("opened", **{"client-info": client})).detail == {
        "user_agent": "Mozilla/5.0",
        "machine": True,
    }


# Postmark.


def postmark(record: str, **more: Any) -> dict[str, Any]:
    common = {"MessageID": "883953f4", "Metadata": {"pillarbox": TOKEN}, "Tag": "receipt", "ServerID": 23}
    return {"RecordType": record, "MessageStream": "outbound", **common, **more}


def postmark_bounce(kind: str, code: int, record: str = "Bounce") -> dict[str, Any]:
    return postmark(
        record,
        ID=4323372036854775807,
        Type=kind,
        TypeCode=code,
        Name=kind,
        Email=JANE,
        From="ann@example.com",
        BouncedAt=ISO,
        Details="smtp;550 5.1.1 no",
        Inactive=True,
    )


@pytest.mark.parametrize(
    "row",
    [
        (
            postmark("Delivery", Recipient=JANE, DeliveredAt=ISO, Details="smtp;250 OK"),
            K.DELIVERED,
            None,
            None,
        ),
        (postmark_bounce("HardBounce", 1), K.BOUNCED, HARD, R.NO_SUCH_USER),
        (postmark_bounce("Transient", 2), K.DEFERRED, None, None),
        (postmark_bounce("Unsubscribe", 16), K.UNSUBSCRIBED, None, None),
        (postmark_bounce("Subscribe", 32), K.UNKNOWN, None, None),
        (postmark_bounce("AutoResponder", 64), K.UNKNOWN, None, None),
        (postmark_bounce("AddressChange", 128), K.UNKNOWN, None, None),
        (postmark_bounce("DnsError", 256), K.DEFERRED, None, None),
        (postmark_bounce("SpamNotification", 512), K.BOUNCED, BLOCK, R.SPAM),
        (postmark_bounce("OpenRelayTest", 1024), K.DEFERRED, None, None),
        (postmark_bounce("Unknown", 2048), K.BOUNCED, SOFT, R.OTHER),
        (postmark_bounce("SoftBounce", 4096), K.BOUNCED, SOFT, R.OTHER),
        (postmark_bounce("VirusNotification", 8192), K.BOUNCED, BLOCK, R.SPAM),
        (postmark_bounce("ChallengeVerification", 16384), K.UNKNOWN, None, None),
        (postmark_bounce("BadEmailAddress", 100000), K.BOUNCED, HARD, R.NO_SUCH_USER),
        (postmark_bounce("SpamComplaint", 100001), K.COMPLAINED, None, None),
        (postmark_bounce("SpamComplaint", 100001, "SpamComplaint"), K.COMPLAINED, None, None),
        (postmark_bounce("ManuallyDeactivated", 100002), K.BOUNCED, SOFT, R.SUPPRESSED),
        (postmark_bounce("Unconfirmed", 100003), K.BOUNCED, SOFT, R.SUPPRESSED),
        (postmark_bounce("Blocked", 100006), K.BOUNCED, BLOCK, R.POLICY),
        (postmark_bounce("SMTPApiError", 100007), K.BOUNCED, SOFT, R.OTHER),
        (postmark_bounce("InboundError", 100008), K.UNKNOWN, None, None),
        (postmark_bounce("DMARCPolicy", 100009), K.BOUNCED, BLOCK, R.AUTHENTICATION),
        (postmark_bounce("TemplateRenderingFailed", 100010), K.BOUNCED, SOFT, R.OTHER),
        (postmark("Open", Recipient=JANE, ReceivedAt=ISO, Geo={"IP": "203.0.113.7"}), K.OPENED, None, None),
        (postmark("Click", Recipient=JANE, ReceivedAt=ISO, OriginalLink="https://x"), K.CLICKED, None, None),
        (
            postmark(
                "SubscriptionChange",
                Recipient=JANE,
                ChangedAt=ISO,
                SuppressSending=True,
                SuppressionReason="ManualSuppression",
            ),
            K.UNSUBSCRIBED,
            None,
            None,
        ),
        (
            postmark(
                "SubscriptionChange",
                Recipient=JANE,
                ChangedAt=ISO,
                SuppressSending=True,
                SuppressionReason="HardBounce",
            ),
            K.UNKNOWN,
            None,
            None,
        ),
        (
            postmark("SubscriptionChange", Recipient=JANE, ChangedAt=ISO, SuppressSending=False),
            K.UNKNOWN,
            None,
            None,
        ),
        (postmark("Inbound", Recipient=JANE, ReceivedAt=ISO), K.UNKNOWN, None, None),
    ],
)
def test_postmark(row: Row) -> None:
    report = one("postmark", row[0])
    check(report, row)
    assert (report.at, report.token, report.recipient, report.ref) == (WHEN, TOKEN, JANE, "883953f4")
    assert report.key == ("4323372036854775807" if "ID" in row[0] else None)


# Resend.


def resend(event: str, **more: Any) -> dict[str, Any]:
    data = {
        "email_id": "56761188",
        "created_at": ISO,
        "from": "Ann <ann@example.com>",
        "to": [f"Jane <{JANE}>"],
        "subject": "hello",
        "tags": {"pillarbox": "17-21", "tag": "receipt"},
    }
    return {"type": event, "created_at": ISO, "data": {**data, **more}}


def resend_bounce(kind: str, subtype: str) -> dict[str, Any]:
    return resend("email.bounced", bounce={"type": kind, "subType": subtype, "message": "it bounced"})


@pytest.mark.parametrize(
    "row",
    [
        (resend("email.sent"), K.SENT, None, None),
        (resend("email.delivered"), K.DELIVERED, None, None),
        (resend("email.delivery_delayed"), K.DEFERRED, None, None),
        (resend_bounce("Permanent", "General"), K.BOUNCED, HARD, R.OTHER),
        (resend_bounce("Permanent", "Suppressed"), K.BOUNCED, HARD, R.SUPPRESSED),
        (resend_bounce("Transient", "MailboxFull"), K.BOUNCED, SOFT, R.MAILBOX_FULL),
        (resend("email.bounced", bounce={"message": "a hard bounce message"}), K.BOUNCED, HARD, R.OTHER),
        (resend("email.bounced", bounce={"message": "has suppressed it"}), K.BOUNCED, HARD, R.SUPPRESSED),
        (resend("email.bounced"), K.BOUNCED, SOFT, R.OTHER),
        (resend_bounce("Transient", "ContentRejected"), K.BOUNCED, BLOCK, R.SPAM),
        (resend("email.complained"), K.COMPLAINED, None, None),
        (resend("email.opened", open={"ipAddress": "203.0.113.7", "timestamp": ISO}), K.OPENED, None, None),
        (resend("email.clicked", click={"link": "https://x", "timestamp": ISO}), K.CLICKED, None, None),
        (resend("email.failed", failed={"reason": "reached_daily_quota"}), K.BOUNCED, SOFT, R.RATE),
        (resend("email.suppressed", suppressed={"reason": "previous_bounce"}), K.BOUNCED, HARD, R.SUPPRESSED),
        (
            resend("email.suppressed", suppressed={"reason": "previous_complaint"}),
            K.BOUNCED,
            SOFT,
            R.SUPPRESSED,
        ),
        (resend("email.scheduled"), K.UNKNOWN, None, None),
        (resend("email.received"), K.UNKNOWN, None, None),
        (resend("contact.created"), K.UNKNOWN, None, None),
    ],
)
def test_resend(row: Row) -> None:
    report = one("resend", row[0], **{"svix-id": "msg_1"})
    check(report, row)
    assert (report.at, report.token, report.recipient) == (WHEN, TOKEN, JANE)
    assert (report.ref, report.key) == ("56761188", "msg_1")


def test_resends_tags_may_be_a_list_too_and_several_recipients_name_nobody() -> None:
    event = resend(
        "email.sent", tags=[{"name": "pillarbox", "value": "17-21"}], to=[JANE, "john@example.org"]
    )
    report = one("resend", event)
    assert (report.token, report.recipient) == (TOKEN, None)


# Brevo.


def brevo(event: str, **more: Any) -> dict[str, Any]:
    return {
        "event": event,
        "email": JANE,
        "id": 26224,
        "date": "2026-01-02 09:04:05",
        "ts": AT + 9,
        "ts_event": AT + 9,
        "ts_epoch": AT * 1_000,
        "message-id": "<2026.1@smtp-relay.mailin.fr>",
        "subject": "hello",
        "tag": '["receipt"]',
        "tags": ["receipt"],
        "X-Mailin-custom": TOKEN,
        "sending_ip": "198.51.100.9",
        **more,
    }


@pytest.mark.parametrize(
    "row",
    [
        (brevo("request"), K.SENT, None, None),
        (brevo("delivered"), K.DELIVERED, None, None),
        (brevo("deferred", reason="451 4.7.1 later"), K.DEFERRED, None, None),
        (brevo("hard_bounce", reason="550 5.1.1 unknown"), K.BOUNCED, HARD, R.NO_SUCH_USER),
        (brevo("invalid_email"), K.BOUNCED, HARD, R.NO_SUCH_USER),
        (brevo("soft_bounce", reason="452 4.2.2 full"), K.BOUNCED, SOFT, R.MAILBOX_FULL),
        (brevo("blocked", reason="blocked : due to blacklist user"), K.BOUNCED, SOFT, R.SUPPRESSED),
        (brevo("error"), K.BOUNCED, SOFT, R.OTHER),
        (brevo("spam"), K.COMPLAINED, None, None),
        (brevo("complaint"), K.COMPLAINED, None, None),
        (brevo("opened"), K.OPENED, None, None),
        (brevo("unique_opened"), K.OPENED, None, None),
        (brevo("proxy_open"), K.OPENED, None, None),
        (brevo("unique_proxy_open"), K.OPENED, None, None),
        (brevo("click", link="https://x.example/"), K.CLICKED, None, None),
        (brevo("unsubscribe"), K.UNSUBSCRIBED, None, None),
        (brevo("unsubscribed"), K.UNSUBSCRIBED, None, None),
        (brevo("list_addition"), K.UNKNOWN, None, None),
    ],
)
def test_brevo(row: Row) -> None:
    report = one("brevo", row[0])
    check(report, row)
    assert (report.at, report.token, report.recipient) == (WHEN, TOKEN, JANE)
    assert (report.ref, report.key) == ("2026.1@smtp-relay.mailin.fr", None)
    assert report.detail.get("machine") == (True if "proxy" in row[0]["event"] else None)


# SparkPost.


def sparkpost(kind: str, family: str = "message_event", **more: Any) -> dict[str, Any]:
    event = {
        "type": kind,
        "event_id": "92356927693813856",
        "timestamp": str(AT),
        "transmission_id": "65832150921904138",
        "message_id": "000443ee14578172be22",
        "rcpt_to": JANE,
        "raw_rcpt_to": JANE,
        "rcpt_meta": {"pillarbox": TOKEN},
        "rcpt_tags": [],
        **more,
    }
    return {"msys": {family: event}}


def sparkpost_bounce(number: int, kind: str = "bounce") -> dict[str, Any]:
    return sparkpost(kind, bounce_class=str(number), error_code="550", raw_reason="550 5.0.0 no")


@pytest.mark.parametrize(
    "row",
    [
        (sparkpost("injection"), K.SENT, None, None),
        (sparkpost("delivery"), K.DELIVERED, None, None),
        (sparkpost("delay", bounce_class="20"), K.DEFERRED, None, None),
        *[
            (sparkpost_bounce(number), K.BOUNCED, kind, reason)
            for number, kind, reason in (
                (1, SOFT, R.OTHER),
                (10, HARD, R.NO_SUCH_USER),
                (20, SOFT, R.OTHER),
                (21, SOFT, R.UNREACHABLE),
                (22, SOFT, R.MAILBOX_FULL),
                (23, SOFT, R.TOO_LARGE),
                (24, SOFT, R.EXPIRED),
                (25, SOFT, R.SUPPRESSED),
                (30, HARD, R.NO_SUCH_USER),
                (40, SOFT, R.OTHER),
                (50, BLOCK, R.POLICY),
                (51, BLOCK, R.SPAM),
                (52, BLOCK, R.SPAM),
                (53, BLOCK, R.SPAM),
                (54, BLOCK, R.RELAYING),
                (70, SOFT, R.OTHER),
            )
        ],
        (sparkpost_bounce(60), K.UNKNOWN, None, None),
        (sparkpost_bounce(80), K.UNKNOWN, None, None),
        (sparkpost_bounce(90), K.UNSUBSCRIBED, None, None),
        (sparkpost_bounce(100), K.UNKNOWN, None, None),
        (sparkpost_bounce(999), K.BOUNCED, SOFT, R.OTHER),
        (sparkpost_bounce(10, "out_of_band"), K.BOUNCED, HARD, R.NO_SUCH_USER),
        (sparkpost_bounce(25, "policy_rejection"), K.BOUNCED, SOFT, R.SUPPRESSED),
        (sparkpost("spam_complaint", fbtype="abuse"), K.COMPLAINED, None, None),
        (sparkpost("generation_failure", "gen_event", raw_reason="no template"), K.BOUNCED, SOFT, R.OTHER),
        (sparkpost("generation_rejection", "gen_event"), K.BOUNCED, SOFT, R.OTHER),
        (sparkpost("open", "track_event", ip_address="203.0.113.7"), K.OPENED, None, None),
        (sparkpost("initial_open", "track_event"), K.OPENED, None, None),
        (sparkpost("amp_open", "track_event"), K.OPENED, None, None),
        (sparkpost("amp_initial_open", "track_event"), K.OPENED, None, None),
        (sparkpost("click", "track_event", target_link_url="https://x"), K.CLICKED, None, None),
        (sparkpost("amp_click", "track_event"), K.CLICKED, None, None),
        (sparkpost("list_unsubscribe", "unsubscribe_event"), K.UNSUBSCRIBED, None, None),
        (sparkpost("link_unsubscribe", "unsubscribe_event"), K.UNSUBSCRIBED, None, None),
        (sparkpost("relay_delivery", "relay_event"), K.UNKNOWN, None, None),
    ],
)
def test_sparkpost(row: Row) -> None:
    report = one("sparkpost", [row[0]])
    check(report, row)
    assert (report.at, report.token, report.recipient) == (WHEN, TOKEN, JANE)
    assert (report.ref, report.key) == ("65832150921904138", "92356927693813856")


# Mailjet.


def mailjet(event: str, **more: Any) -> dict[str, Any]:
    return {
        "event": event,
        "time": AT,
        "MessageID": 19421777835146490,
        "Message_GUID": "1ab23cd4",
        "email": JANE,
        "mj_campaign_id": 7257,
        "mj_contact_id": 4,
        "customcampaign": "",
        "CustomID": TOKEN,
        "Payload": "",
        **more,
    }


def mailjet_bounce(error: str, *, hard: bool = False, blocked: bool = False, place: str = "recipient"):
    return mailjet(
        "bounce",
        blocked=blocked,
        hard_bounce=hard,
        error_related_to=place,
        error=error,
        comment="550 5.0.0 no",
    )


@pytest.mark.parametrize(
    "row",
    [
        (mailjet("sent", smtp_reply="sent (250 2.0.0 OK 1433 - gsmtp)"), K.DELIVERED, None, None),
        (mailjet_bounce("user unknown", hard=True), K.BOUNCED, HARD, R.NO_SUCH_USER),
        (mailjet_bounce("mailbox inactive", hard=True), K.BOUNCED, HARD, R.INACTIVE),
        (mailjet_bounce("quota exceeded"), K.BOUNCED, SOFT, R.MAILBOX_FULL),
        (mailjet_bounce("greylisted", place="domain"), K.DEFERRED, None, None),
        (mailjet_bounce("invalid domain", hard=True, place="domain"), K.BOUNCED, HARD, R.NO_SUCH_DOMAIN),
        (mailjet_bounce("no mail host", place="domain"), K.BOUNCED, SOFT, R.NO_SUCH_DOMAIN),
        (mailjet_bounce("relay/access denied", place="domain"), K.BOUNCED, SOFT, R.RELAYING),
        (mailjet_bounce("sender blocked", blocked=True, place="spam"), K.BOUNCED, BLOCK, R.REPUTATION),
        (mailjet_bounce("content blocked", blocked=True, place="spam"), K.BOUNCED, BLOCK, R.SPAM),
        (mailjet_bounce("policy issue", blocked=True, place="spam"), K.BOUNCED, BLOCK, R.POLICY),
        (mailjet_bounce("", place="content"), K.BOUNCED, SOFT, R.SPAM),
        (mailjet_bounce("", place="system"), K.BOUNCED, SOFT, R.OTHER),
        (mailjet("blocked", error_related_to="mailjet", error="preblocked"), K.BOUNCED, SOFT, R.SUPPRESSED),
        (
            mailjet("blocked", error_related_to="recipient", error="spam reporter"),
            K.BOUNCED,
            SOFT,
            R.SUPPRESSED,
        ),
        (mailjet("spam", source="JMRPP"), K.COMPLAINED, None, None),
        (mailjet("open", ip="203.0.113.7", geo="EU", agent="Mozilla/5.0"), K.OPENED, None, None),
        (mailjet("click", url="https://x.example/"), K.CLICKED, None, None),
        (mailjet("unsub", mj_list_id=1, ip="203.0.113.7"), K.UNSUBSCRIBED, None, None),
        (mailjet("yodelled"), K.UNKNOWN, None, None),
    ],
)
@pytest.mark.parametrize("version", [1, 2])
def test_mailjet(row: Row, version: int) -> None:
    report = one("mailjet", row[0] if version == 1 else [row[0]])
    check(report, row)
    assert (report.at, report.token, report.recipient) == (WHEN, TOKEN, JANE)
    assert (report.ref, report.key) == ("19421777835146490", None)


# Mailtrap.


def mailtrap(event: str, **more: Any) -> dict[str, Any]:
    return {
        "event": event,
        "message_id": "1df37d17",
        "sending_stream": "transactional",
        "email": JANE,
        "timestamp": AT,
        "event_id": "bede7236",
        "category": "receipt",
        "custom_variables": {"pillarbox": TOKEN},
        **more,
    }


def mailtrap_bounce(category: str, response: str = "550 5.0.0 no") -> dict[str, Any]:
    return mailtrap("bounce", response=response, response_code=550, bounce_category=category)


@pytest.mark.parametrize(
    "row",
    [
        (mailtrap("delivery"), K.DELIVERED, None, None),
        (mailtrap("soft bounce", response="451 4.7.1 later", response_code=451), K.DEFERRED, None, None),
        (mailtrap("soft_bounce"), K.DEFERRED, None, None),
        (mailtrap("suspension", reason="too many bounces"), K.DEFERRED, None, None),
        (mailtrap_bounce("badmailbox"), K.BOUNCED, HARD, R.NO_SUCH_USER),
        (mailtrap_bounce("hard"), K.BOUNCED, HARD, R.OTHER),
        (mailtrap_bounce("hard", "bounced (550 5.1.1 no - gsmtp)"), K.BOUNCED, HARD, R.NO_SUCH_USER),
        (mailtrap_bounce("spam-related"), K.BOUNCED, BLOCK, R.SPAM),
        (mailtrap_bounce("policy-related"), K.BOUNCED, BLOCK, R.POLICY),
        (mailtrap_bounce("other", "550 5.7.1 blocked"), K.BOUNCED, BLOCK, R.POLICY),
        (mailtrap_bounce("quotaissue"), K.BOUNCED, SOFT, R.MAILBOX_FULL),
        (mailtrap_bounce("other", "550 5.2.2 full"), K.BOUNCED, SOFT, R.MAILBOX_FULL),
        (mailtrap("reject", reason="suppressed after a hard bounce"), K.BOUNCED, HARD, R.SUPPRESSED),
        (mailtrap("reject", reason="unsubscribed"), K.BOUNCED, SOFT, R.SUPPRESSED),
        (mailtrap("spam"), K.COMPLAINED, None, None),
        (mailtrap("open", ip="203.0.113.7", user_agent="Mozilla/5.0"), K.OPENED, None, None),
        (mailtrap("click", url="https://x.example/"), K.CLICKED, None, None),
        (mailtrap("unsubscribe"), K.UNSUBSCRIBED, None, None),
        (mailtrap("yodelled"), K.UNKNOWN, None, None),
    ],
)
def test_mailtrap(row: Row) -> None:
    report = one("mailtrap", {"events": [row[0]]})
    check(report, row)
    assert (report.at, report.token, report.recipient) == (WHEN, TOKEN, JANE)
    assert (report.ref, report.key) == ("1df37d17", "bede7236")


def test_mailtrap_may_write_an_event_to_a_line() -> None:
    lines = "\n".join(json.dumps(mailtrap(event)) for event in ("delivery", "open"))
    assert [report.kind for report in read("mailtrap", lines.encode())] == [K.DELIVERED, K.OPENED]


# MailerSend.


def mailersend(kind: str, **morph: Any) -> dict[str, Any]:
    email = {
        "object": "email",
        "id": "62f114f8",
        "created_at": "2026-01-02T03:04:01.000000Z",
        "from": "ann@example.com",
        "subject": "hello",
        "status": "sent",
        "tags": ["receipt", f"pillarbox:{TOKEN}"],
        "message": {"object": "message", "id": "62fb66bef54a", "created_at": "2026-01-02T03:04:01Z"},
        "recipient": {"object": "recipient", "id": "62c69be104", "email": JANE},
    }
    data = {"object": "activity", "id": "62f114f87a", "type": kind.rpartition(".")[2], "created_at": ISO}
    return {
        "type": kind,
        "domain_id": "yv69oxl5kl785kw2",
        "created_at": "2026-01-02T03:04:06.000000Z",
        "webhook_id": "2351ndgwr4zqx8ko",
        "url": "https://relay.example/hook",
        "data": {**data, "email": email, "morph": morph or None, "template_id": "0z76k5jg0o3yeg2d"},
    }


@pytest.mark.parametrize(
    "row",
    [
        (mailersend("activity.sent"), K.SENT, None, None),
        (mailersend("activity.delivered"), K.DELIVERED, None, None),
        (mailersend("activity.deferred", reason="451 4.7.1 later"), K.DEFERRED, None, None),
        (mailersend("activity.soft_bounced", reason="452 4.2.2 full"), K.BOUNCED, SOFT, R.MAILBOX_FULL),
        (mailersend("activity.hard_bounced", reason="550 5.1.1 no"), K.BOUNCED, HARD, R.NO_SUCH_USER),
        (mailersend("activity.hard_bounced", reason="Unknown reason"), K.BOUNCED, HARD, R.OTHER),
        (mailersend("activity.spam_complaint", object="spam_complaint"), K.COMPLAINED, None, None),
        (mailersend("activity.opened", ip="203.0.113.7"), K.OPENED, None, None),
        (mailersend("activity.opened_unique", ip="203.0.113.7"), K.OPENED, None, None),
        (mailersend("activity.clicked", url="https://x.example/"), K.CLICKED, None, None),
        (mailersend("activity.clicked_unique", url="https://x.example/"), K.CLICKED, None, None),
        (mailersend("activity.unsubscribed", readable_reason="enough"), K.UNSUBSCRIBED, None, None),
        (mailersend("activity.survey_opened"), K.UNKNOWN, None, None),
        (mailersend("sender_identity.verified"), K.UNKNOWN, None, None),
    ],
)
def test_mailersend(row: Row) -> None:
    report = one("mailersend", row[0])
    check(report, row)
    assert (report.at, report.token, report.recipient) == (WHEN, TOKEN, JANE)
    assert (report.ref, report.key) == ("62fb66bef54a", "62f114f87a")


def test_mailersends_maintenance_is_about_no_mail() -> None:
    assert read("mailersend", b'{"type": "maintenance.start", "data": {"created_at": "2026-01-02"}}') == []


# Azure.


def azure(name: str, **data: Any) -> dict[str, Any]:
    return {
        "id": "2d1781af",
        "topic": "/subscriptions/x",
        "subject": "sender/ann@example.com/message/950850f5",
        "eventType": f"Microsoft.Communication.Email{name}",
        "dataVersion": "1.0",
        "metadataVersion": "1",
        "eventTime": "2026-01-02T03:04:05.1234567Z",
        "data": {"sender": "ann@example.com", "messageId": "950850f5", "recipient": JANE, **data},
    }


def azure_report(status: str, words: str = "550 5.0.0 no") -> dict[str, Any]:
    return azure(
        "DeliveryReportReceived",
        status=status,
        deliveryStatusDetails={"statusMessage": words},
        deliveryAttemptTimeStamp="2026-01-02T03:04:05+00:00",
    )


def azure_engagement(kind: str) -> dict[str, Any]:
    return azure(
        "EngagementTrackingReportReceived",
        engagementType=kind,
        engagementContext="https://x.example/",
        userAgent="Mozilla/5.0",
        userActionTimeStamp=ISO,
    )


@pytest.mark.parametrize(
    "row",
    [
        (azure_report("Delivered", "OK"), K.DELIVERED, None, None),
        (azure_report("Expanded"), K.SENT, None, None),
        (azure_report("Bounced", "550 5.1.1 no"), K.BOUNCED, HARD, R.NO_SUCH_USER),
        (azure_report("Bounced", ""), K.BOUNCED, HARD, R.OTHER),
        (azure_report("Failed"), K.BOUNCED, SOFT, R.OTHER),
        (azure_report("FilteredSpam"), K.BOUNCED, BLOCK, R.SPAM),
        (azure_report("Quarantined"), K.BOUNCED, BLOCK, R.SPAM),
        (azure_report("Suppressed"), K.BOUNCED, HARD, R.SUPPRESSED),
        (azure_report("Yodelled"), K.UNKNOWN, None, None),
        (azure_engagement("view"), K.OPENED, None, None),
        (azure_engagement("click"), K.CLICKED, None, None),
        (azure("SomethingElse"), K.UNKNOWN, None, None),
    ],
)
def test_azure(row: Row) -> None:
    report = one("azure", [row[0]])
    check(report, row)
    assert (report.at.replace(microsecond=0), report.recipient) == (WHEN, JANE)
    assert (report.token, report.ref, report.key) == (None, "950850f5", "2d1781af")


# SES.


def ses(name: str, place: str, *, classic: bool = False, **more: Any) -> dict[str, Any]:
    mail: dict[str, Any] = {
        "timestamp": "2026-01-02T03:04:00.000Z",
        "messageId": "0100015f-1234",
        "source": "ann@example.com",
        "destination": [JANE],
    }
    if not classic:
        mail["tags"] = {"pillarbox": ["17-21"], "ses:caller-identity": ["relay"]}
    told = {
        "notificationType" if classic else "eventType": name,
        "mail": mail,
        place: {"timestamp": ISO, **more},
    }
    return {"Type": "Notification", "MessageId": "22b80b92", "Message": json.dumps(told)}


def ses_bounce(kind: str, subtype: str, *, classic: bool = False, **person: Any) -> dict[str, Any]:
    report = {"action": "failed", "status": "5.0.0", "diagnosticCode": "smtp; 550 5.0.0 no"}
    people = [{"emailAddress": JANE, **(person or report)}]
    words = {
        "bounceType": kind,
        "bounceSubType": subtype,
        "bouncedRecipients": people,
        "feedbackId": "0100-f",
    }
    return ses("Bounce", "bounce", classic=classic, **words)


def ses_wish(leaves: bool) -> dict[str, Any]:
    return ses("Subscription", "subscription", newTopicPreferences={"unsubscribeAll": leaves})


def ses_complaint(kind: str | None, subtype: str | None = None) -> dict[str, Any]:
    people = [{"emailAddress": JANE}]
    words = {"complaintFeedbackType": kind, "complaintSubType": subtype, "feedbackId": "0100-f"}
    return ses("Complaint", "complaint", complainedRecipients=people, **words)


@pytest.mark.parametrize(
    "row",
    [
        (ses("Send", "send"), K.SENT, None, None),
        (ses("Delivery", "delivery", recipients=[JANE], smtpResponse="250 OK"), K.DELIVERED, None, None),
        (ses("Delivery", "delivery", classic=True, recipients=[JANE]), K.DELIVERED, None, None),
        (
            ses("DeliveryDelay", "deliveryDelay", delayedRecipients=[{"emailAddress": JANE}]),
            K.DEFERRED,
            None,
            None,
        ),
        (ses_bounce("Permanent", "General"), K.BOUNCED, HARD, R.OTHER),
        (ses_bounce("Permanent", "General", classic=True), K.BOUNCED, HARD, R.OTHER),
        (ses_bounce("Permanent", "NoEmail"), K.BOUNCED, HARD, R.NO_SUCH_USER),
        (ses_bounce("Permanent", "Suppressed"), K.BOUNCED, HARD, R.SUPPRESSED),
        (ses_bounce("Permanent", "OnAccountSuppressionList"), K.BOUNCED, HARD, R.SUPPRESSED),
        (ses_bounce("Transient", "MailboxFull"), K.BOUNCED, SOFT, R.MAILBOX_FULL),
        (ses_bounce("Transient", "MessageTooLarge"), K.BOUNCED, SOFT, R.TOO_LARGE),
        (ses_bounce("Transient", "ContentRejected"), K.BOUNCED, BLOCK, R.SPAM),
        (ses_bounce("Transient", "AttachmentRejected"), K.BOUNCED, BLOCK, R.SPAM),
        (ses_bounce("Transient", "General"), K.BOUNCED, SOFT, R.OTHER),
        (ses_bounce("Transient", "General", action=None), K.UNKNOWN, None, None),
        (ses_bounce("Undetermined", "Undetermined"), K.BOUNCED, SOFT, R.OTHER),
        (ses_complaint("abuse"), K.COMPLAINED, None, None),
        (ses_complaint(None), K.COMPLAINED, None, None),
        (ses_complaint("not-spam"), K.UNKNOWN, None, None),
        (ses_complaint(None, "OnAccountSuppressionList"), K.BOUNCED, SOFT, R.SUPPRESSED),
        (ses("Reject", "reject", reason="Bad content"), K.BOUNCED, BLOCK, R.SPAM),
        (ses("Open", "open", ipAddress="203.0.113.7", userAgent="Mozilla/5.0"), K.OPENED, None, None),
        (ses("Click", "click", link="https://x.example/"), K.CLICKED, None, None),
        (ses("Rendering Failure", "failure", errorMessage="no name"), K.BOUNCED, SOFT, R.OTHER),
        (
            ses("Subscription", "subscription", newTopicPreferences={"unsubscribeAll": True}),
            K.UNSUBSCRIBED,
            None,
            None,
        ),
        (
            ses("Subscription", "subscription", newTopicPreferences={"unsubscribeAll": False}),
            K.UNKNOWN,
            None,
            None,
        ),
        (ses("Yodel", "yodel"), K.UNKNOWN, None, None),
    ],
)
def test_ses(row: Row) -> None:
    report = one("ses", row[0])
    check(report, row)
    classic = "notificationType" in row[0]["Message"]
    unknown_place = "Yodel" in row[0]["Message"]
    assert report.at.replace(second=5) == WHEN
    assert unknown_place or report.at == WHEN
    assert (report.token, report.ref, report.recipient) == (None if classic else TOKEN, "0100015f-1234", JANE)
    assert report.key == ("0100-f" if "feedbackId" in row[0]["Message"] else None)


def test_ses_names_each_recipient_and_nobody_where_it_does_not_know() -> None:
    john = "john@example.org"
    both = [{"emailAddress": JANE, "status": "5.1.1"}, {"emailAddress": john, "status": "5.2.2"}]
    event = ses("Bounce", "bounce", bounceType="Permanent", bounceSubType="General", bouncedRecipients=both)
    reports = read("ses", json.dumps(event).encode())
    assert [(one.recipient, one.reply and one.reply.enhanced) for one in reports] == [
        (JANE, "5.1.1"),
        (john, "5.2.2"),
    ]
    event = json.loads(ses("Open", "open")["Message"])
    event["mail"]["destination"].append(john)
    assert one("ses", {"Message": json.dumps(event)}).recipient is None


def test_what_databases_do_not_hold_is_left_out_of_a_message_within_a_message_too() -> None:
    event = ses("Open", "open", userAgent="a\0b")
    assert one("ses", event).detail == {"user_agent": "ab"}


def test_the_topic_itself_says_things_that_are_about_no_mail() -> None:
    words = "Successfully validated SNS topic for Amazon SES event publishing."
    assert read("ses", json.dumps({"Type": "Notification", "Message": words}).encode()) == []


# All of them.


@pytest.mark.parametrize(
    ("vendor", "ping"),
    [
        ("sparkpost", [{"msys": {}}]),
        ("sendgrid", []),
        ("mailjet", []),
        ("azure", []),
        ("mailtrap", {"events": []}),
    ],
)
def test_a_ping_tells_nothing(vendor: str, ping: Any) -> None:
    assert read(vendor, json.dumps(ping).encode()) == []


@pytest.mark.parametrize(
    ("vendor", "good"),
    [
        ("sendgrid", sendgrid("delivered")),
        ("sparkpost", sparkpost("delivery")),
        ("mailjet", mailjet("sent")),
        ("azure", azure_report("Delivered")),
        ("mailtrap", mailtrap("delivery")),
    ],
)
@pytest.mark.parametrize(
    "bad", [7, None, "delivered", ["delivered"], {"event": {"event": 1}, "msys": {"x": 3}}]
)
def test_one_event_that_cannot_be_read_does_not_keep_the_others(vendor: str, good: Any, bad: Any) -> None:
    batch: Any = [good, bad, good]
    body = json.dumps({"events": batch} if vendor == "mailtrap" else batch).encode()
    assert [report.kind for report in read(vendor, body)] == [K.DELIVERED, K.UNKNOWN, K.DELIVERED]


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_body_that_is_no_json_is_kept_as_it_is(vendor: str) -> None:
    (report,) = read(vendor, b"<html>\x00 what?")
    assert (report.kind, report.original) == (K.UNKNOWN, {"told": "<html> what?"})


def test_what_databases_do_not_hold_is_left_out() -> None:
    report = one("sendgrid", [sendgrid("bounce", **{"reason": "550 5.1.1 \0 no", "x\0": ["\0"]})])
    assert "\0" not in json.dumps(report.original, ensure_ascii=False)
    assert report.reply is not None
    assert report.reply.text == "no"


@pytest.mark.parametrize(
    "time", ["yesterday", "", None, -1, 1e300, "9999-12-31T23:59:59-23:00", {}, True, "1e999"]
)
def test_an_impossible_time_is_the_time_of_arrival(time: Any) -> None:
    before = datetime.now(UTC)
    assert before <= one("sendgrid", [sendgrid("open", timestamp=time)]).at <= datetime.now(UTC)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("550 5.1.1 User unknown", "550 5.1.1 User unknown"),
        ("smtp;550 5.1.1 User unknown", "550 5.1.1 User unknown"),
        ("smtp; 550-5.1.1 User unknown", "550 5.1.1 User unknown"),
        ("sent (250 2.0.0 OK 1433 - gsmtp)", "250 2.0.0 OK 1433 - gsmtp"),
        ("5.1.1 User unknown", "550 5.1.1 User unknown"),
        ("450 busy", "450 busy"),
        ("mailbox 550 is full", "550 mailbox 550 is full"),
        ("two\r\nlines", "550 two lines"),
    ],
)
def test_replies_are_found_in_words(words: str, expected: str) -> None:
    assert str(reply_of(words, 550)) == expected


def test_codes_told_apart_win_over_the_words() -> None:
    assert str(reply_of("full", 550, code=452, enhanced="4.2.2")) == "452 4.2.2 full"
    assert reply_of(None, 550) is None
    assert reply_of("", 550) is None


@pytest.mark.parametrize(
    ("text", "token"),
    [
        ("1.2", "1.2"),
        ("1-2", "1.2"),
        ("1", "1"),
        ("1.2.3", None),
        ("x", None),
        ("", None),
        ("1." + "9" * 20, None),
    ],
)
def test_only_what_can_be_ours_is_a_token(text: str, token: str | None) -> None:
    assert token_of(text) == token
