"""What every documented answer of every vendor means: one line per row of its table of errors."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers import (
    azure,
    brevo,
    gmail,
    graph,
    mailersend,
    mailgun,
    mailjet,
    mailtrap,
    postmark,
    resend,
    sendgrid,
    ses,
    sparkpost,
    webhook,
)
from providers import outcomes as common
from providers.http import Answer
from relay.core.provider import Outcome
from relay.testing import outgoing

MAIL = outgoing("jane@example.org")

Judge = Callable[[Answer], Outcome]

JUDGES: dict[str, Judge] = {
    "azure": azure.outcomes.judge,
    "brevo": brevo.outcomes.judge,
    "gmail": gmail.outcomes.judge,
    "graph": graph.outcomes.judge,
    "http": lambda answer: webhook.outcomes.judge(answer, MAIL)[0],
    "mailersend": mailersend.outcomes.judge,
    "mailgun": mailgun.outcomes.judge,
    "mailjet": lambda answer: mailjet.outcomes.judge(answer, [MAIL])[0][0],
    "mailtrap": mailtrap.outcomes.judge,
    "postmark": postmark.outcomes.judge,
    "resend": resend.outcomes.judge,
    "sendgrid": sendgrid.outcomes.judge,
    "ses": ses.outcomes.judge,
    "sparkpost": sparkpost.outcomes.judge,
}


def answer(status: int, body: Any = b"", **headers: str) -> Answer:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer(status, {name.replace("_", "-"): value for name, value in headers.items()}, data)


def _ses(status: int, kind: str, message: str = "words") -> Answer:
    return answer(status, {"message": message}, x_amzn_errortype=kind)


def _postmark(code: int, status: int = 422) -> Answer:
    return answer(status, {"ErrorCode": code, "Message": "words"})


def _sendgrid(status: int, **headers: str) -> Answer:
    return answer(status, {"errors": [{"message": "words", "field": None}]}, **headers)


def _resend(status: int, name: str, **headers: str) -> Answer:
    return answer(status, {"statusCode": status, "name": name, "message": "words"}, **headers)


def _brevo(status: int, code: str, **headers: str) -> Answer:
    return answer(status, {"code": code, "message": "words"}, **headers)


def _sparkpost(status: int, code: str = "1400") -> Answer:
    return answer(status, {"errors": [{"message": "words", "description": "more", "code": code}]})


def _mailjet(status: int, code: str) -> Answer:
    error = {"ErrorIdentifier": "x", "ErrorCode": code, "StatusCode": status, "ErrorMessage": "words"}
    return answer(status, {"Messages": [{"Status": "error", "Errors": [error]}]})


def _mailersend(status: int, code: str = "", **headers: str) -> Answer:
    return answer(status, {"message": "invalid", "errors": {"to": [f"words #{code}"]}}, **headers)


def _google(status: int, reason: str) -> Answer:
    return answer(status, {"error": {"code": status, "message": "words", "errors": [{"reason": reason}]}})


def _graph(status: int, code: str, **headers: str) -> Answer:
    return answer(status, {"error": {"code": code, "message": "words"}}, **headers)


def _azure(status: int, code: str = "Code", **headers: str) -> Answer:
    return answer(status, {"error": {"code": code, "message": "words"}}, **headers)


SAID = {"message": "words"}

TABLE: list[tuple[str, Answer, str]] = [
    # https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_SendEmail.html
    ("ses", answer(200, {"MessageId": "0102"}), "accepted"),
    ("ses", _ses(400, "MessageRejected"), "rejected"),
    ("ses", _ses(400, "MessageRejected", "Email address is not verified. The following …"), "config"),
    ("ses", _ses(400, "BadRequestException"), "rejected"),
    ("ses", answer(413), "rejected"),
    ("ses", _ses(400, "MailFromDomainNotVerifiedException"), "config"),
    ("ses", _ses(404, "NotFoundException"), "config"),
    ("ses", _ses(400, "AccountSuspendedException"), "config"),
    ("ses", _ses(400, "SendingPausedException"), "config"),
    ("ses", _ses(429, "TooManyRequestsException"), "throttled"),
    ("ses", _ses(400, "LimitExceededException"), "throttled"),
    ("ses", _ses(400, "ThrottlingException", "Maximum sending rate exceeded."), "throttled"),
    ("ses", _ses(400, "ThrottlingException", "Daily message quota exceeded."), "throttled"),
    ("ses", _ses(403, "AccessDeniedException"), "config"),
    ("ses", _ses(403, "SignatureDoesNotMatch"), "config"),
    ("ses", _ses(403, "UnrecognizedClientException"), "config"),
    ("ses", _ses(403, "InvalidClientTokenId"), "config"),
    ("ses", _ses(400, "ExpiredTokenException"), "config"),
    ("ses", _ses(403, "RequestTimeTooSkewed"), "config"),
    (
        "ses",
        answer(400, {"__type": "com.amazonaws.sesv2#LimitExceededException", "message": "x"}),
        "throttled",
    ),
    ("ses", _ses(400, "TooManyRequestsException:http://internal.amazon.com/coral/"), "throttled"),
    *[("ses", answer(status), "retry") for status in (500, 502, 503, 504)],
    ("ses", _ses(400, "InternalFailure"), "retry"),
    ("ses", _ses(400, "ServiceUnavailable"), "retry"),
    # https://www.twilio.com/docs/sendgrid/api-reference/how-to-use-the-sendgrid-v3-api/errors
    ("sendgrid", answer(202, x_message_id="abc"), "accepted"),
    ("sendgrid", answer(200), "accepted"),
    *[("sendgrid", _sendgrid(status), "rejected") for status in (400, 413)],
    *[("sendgrid", _sendgrid(status), "config") for status in (401, 403, 406)],
    ("sendgrid", _sendgrid(429), "throttled"),
    *[("sendgrid", answer(status, b"<html>"), "retry") for status in (500, 502, 503, 504)],
    # https://documentation.mailgun.com/docs/mailgun/api-reference/api-overview#errors
    ("mailgun", answer(200, {"id": "<a@b>", "message": "Queued. Thank you."}), "accepted"),
    ("mailgun", answer(200, b"Mailgun Magnificent API"), "config"),
    ("mailgun", answer(400, SAID), "rejected"),
    ("mailgun", answer(400, {"message": "Domain x is not allowed to send: unverified"}), "config"),
    ("mailgun", answer(401, b"Forbidden"), "config"),
    ("mailgun", answer(402, SAID), "retry"),
    ("mailgun", answer(403, SAID), "config"),
    ("mailgun", answer(404, SAID), "config"),
    ("mailgun", answer(413, SAID), "rejected"),
    ("mailgun", answer(429, SAID), "throttled"),
    ("mailgun", answer(500, SAID), "retry"),
    # https://postmarkapp.com/developer/api/overview#error-codes
    ("postmark", answer(200, {"ErrorCode": 0, "Message": "OK", "MessageID": "u"}), "accepted"),
    *[("postmark", _postmark(code), "rejected") for code in (11, 300, 402, 403, 406, 409, 410, 411)],
    *[("postmark", _postmark(code), "config") for code in (10, 400, 401, 405, 412, 413)],
    ("postmark", _postmark(10, 401), "config"),
    ("postmark", answer(401), "config"),
    ("postmark", _postmark(100), "retry"),
    *[("postmark", answer(status), "rejected") for status in (413, 415)],
    ("postmark", answer(429), "throttled"),
    *[("postmark", answer(status), "retry") for status in (500, 503)],
    ("postmark", _postmark(100, 503), "retry"),
    # https://resend.com/docs/api-reference/errors
    ("resend", answer(200, {"id": "u"}), "accepted"),
    ("resend", _resend(400, "validation_error"), "rejected"),
    ("resend", _resend(400, "invalid_idempotency_key"), "rejected"),
    ("resend", _resend(401, "missing_api_key"), "config"),
    ("resend", _resend(401, "restricted_api_key"), "config"),
    ("resend", _resend(403, "invalid_api_key"), "config"),
    ("resend", _resend(403, "validation_error"), "config"),
    ("resend", _resend(409, "invalid_idempotent_request"), "rejected"),
    ("resend", _resend(409, "concurrent_idempotent_requests"), "retry"),
    ("resend", _resend(422, "missing_required_field"), "rejected"),
    ("resend", _resend(429, "rate_limit_exceeded"), "throttled"),
    ("resend", _resend(429, "daily_quota_exceeded"), "throttled"),
    ("resend", _resend(429, "monthly_quota_exceeded"), "throttled"),
    ("resend", _resend(500, "application_error"), "retry"),
    ("resend", _resend(500, "internal_server_error"), "retry"),
    # https://developers.brevo.com/docs/how-it-works#error-codes
    ("brevo", answer(201, {"messageId": "<a@b>"}), "accepted"),
    *[
        ("brevo", _brevo(400, code), "rejected")
        for code in (
            "invalid_parameter",
            "missing_parameter",
            "out_of_range",
            "bad_request",
        )
    ],
    # A key that came before: that mail went, and it was this one.
    ("brevo", _brevo(400, "duplicate_parameter"), "accepted"),
    ("brevo", _brevo(401, "unauthorized"), "config"),
    ("brevo", _brevo(402, "not_enough_credits"), "config"),
    ("brevo", _brevo(400, "not_enough_credits"), "config"),
    ("brevo", _brevo(403, "permission_denied"), "config"),
    ("brevo", _brevo(403, "account_under_validation"), "config"),
    ("brevo", _brevo(422, "unprocessable_entity"), "rejected"),
    ("brevo", _brevo(429, "too_many_requests"), "throttled"),
    ("brevo", answer(500), "retry"),
    # https://developers.sparkpost.com/api/#header-errors
    ("sparkpost", answer(200, {"results": {"id": "1", "total_accepted_recipients": 1}}), "accepted"),
    ("sparkpost", answer(200, {"results": {"id": "1", "total_accepted_recipients": 0}}), "rejected"),
    ("sparkpost", _sparkpost(400, "7001"), "config"),
    *[("sparkpost", _sparkpost(status), "rejected") for status in (400, 409, 413, 415, 422)],
    ("sparkpost", _sparkpost(422, "1902"), "rejected"),
    *[("sparkpost", _sparkpost(status), "config") for status in (401, 403, 404)],
    ("sparkpost", _sparkpost(420, "2101"), "throttled"),
    ("sparkpost", _sparkpost(420, "2102"), "throttled"),
    ("sparkpost", _sparkpost(429), "throttled"),
    *[("sparkpost", answer(status), "retry") for status in (500, 503)],
    # https://dev.mailjet.com/email/guides/send-api-v31/#send-api-errors
    ("mailjet", answer(200, {"Messages": [{"Status": "success", "To": [{"MessageID": 1}]}]}), "accepted"),
    *[("mailjet", _mailjet(401, code), "config") for code in ("mj-0001", "mj-0015")],
    *[("mailjet", _mailjet(403, code), "config") for code in ("send-0006", "send-0007", "send-0008")],
    *[
        ("mailjet", _mailjet(400, code), "rejected")
        for code in ("send-0003", "send-0010", "mj-0002", "mj-0013")
    ],
    ("mailjet", answer(500, {"ErrorIdentifier": "x", "StatusCode": 500, "ErrorMessage": "words"}), "retry"),
    ("mailjet", answer(401, {"ErrorIdentifier": "x", "StatusCode": 401, "ErrorMessage": "words"}), "config"),
    ("mailjet", answer(403), "config"),
    ("mailjet", answer(429), "throttled"),
    ("mailjet", answer(503), "retry"),
    # https://api-docs.mailtrap.io/docs/mailtrap-api-docs/67f1d70aeb62c-send-email
    ("mailtrap", answer(200, {"success": True, "message_ids": ["u"]}), "accepted"),
    ("mailtrap", answer(400, {"success": False, "errors": ["words"]}), "rejected"),
    *[
        ("mailtrap", answer(status, {"success": False, "errors": ["words"]}), "config")
        for status in (401, 403)
    ],
    ("mailtrap", answer(429), "throttled"),
    ("mailtrap", answer(500), "retry"),
    # https://developers.mailersend.com/general.html#errors
    ("mailersend", answer(202, x_message_id="a"), "accepted"),
    ("mailersend", answer(202, {"warnings": [{"type": "SOME_SUPPRESSED"}]}, x_message_id="a"), "accepted"),
    ("mailersend", answer(202, {"warnings": [{"type": "ALL_SUPPRESSED"}]}), "rejected"),
    *[("mailersend", _mailersend(422, code), "rejected") for code in ("", "MS42201")],
    *[("mailersend", _mailersend(422, code), "config") for code in ("MS42207", "MS42222", "MS42225")],
    ("mailersend", _mailersend(422, "MS42204"), "throttled"),
    ("mailersend", answer(401, SAID), "config"),
    ("mailersend", _mailersend(403, "MS40301"), "config"),
    ("mailersend", _mailersend(429, "MS42903"), "throttled"),
    ("mailersend", _mailersend(429, "MS42901"), "throttled"),
    *[("mailersend", answer(status, SAID), "retry") for status in (408, 421, 500, 502, 503)],
    # https://learn.microsoft.com/en-us/graph/errors
    ("graph", answer(202), "accepted"),
    ("graph", _graph(400, "ErrorMimeContentInvalidBase64String"), "rejected"),
    ("graph", _graph(413, "RequestEntityTooLarge"), "rejected"),
    ("graph", _graph(401, "InvalidAuthenticationToken"), "config"),
    *[
        ("graph", _graph(status, code), "config")
        for status, code in (
            (403, "ErrorAccessDenied"),
            (403, "ErrorSendAsDenied"),
            (404, "MailboxNotEnabledForRESTAPI"),
        )
    ],
    ("graph", _graph(429, "ApplicationThrottled"), "throttled"),
    ("graph", _graph(403, "ErrorQuotaExceeded"), "throttled"),
    *[("graph", answer(status), "retry") for status in (503, 504)],
    # https://developers.google.com/workspace/gmail/api/guides/handle-errors
    ("gmail", answer(200, {"id": "a", "threadId": "a"}), "accepted"),
    ("gmail", _google(400, "invalidArgument"), "rejected"),
    ("gmail", _google(401, "authError"), "config"),
    ("gmail", _google(403, "forbidden"), "config"),
    *[
        ("gmail", _google(status, reason), "throttled")
        for status in (403, 429)
        for reason in ("rateLimitExceeded", "userRateLimitExceeded", "dailyLimitExceeded")
    ],
    ("gmail", _google(500, "backendError"), "retry"),
    # https://learn.microsoft.com/en-us/azure/communication-services/concepts/email/email-error-codes
    ("azure", answer(202, {"id": "u", "status": "Running"}), "accepted"),
    ("azure", answer(202, {"id": "u", "status": "Failed", "error": {"code": "x"}}), "rejected"),
    ("azure", _azure(400), "rejected"),
    *[("azure", _azure(status), "config") for status in (401, 403, 404)],
    ("azure", _azure(429), "throttled"),
    ("azure", _azure(503), "retry"),
    # providers/webhook/README.md
    ("http", answer(204), "accepted"),
    *[
        ("http", answer(200, {"results": [{"outcome": kind}]}), kind)
        for kind in ("accepted", "rejected", "retry", "throttled", "config")
    ],
    ("http", answer(200, {"results": [{"outcome": "perhaps"}]}), "ambiguous"),
    ("http", answer(422), "rejected"),
    ("http", answer(401), "config"),
    ("http", answer(429), "throttled"),
    ("http", answer(503), "retry"),
]


@pytest.mark.parametrize(
    ("vendor", "said", "kind"),
    TABLE,
    ids=[f"{vendor}-{said.status}-{n}" for n, (vendor, said, _) in enumerate(TABLE)],
)
def test_an_answer_means(vendor: str, said: Answer, kind: str) -> None:
    outcome = JUDGES[vendor](said)
    assert outcome.kind == kind, outcome
    expected = {"accepted": outcome.reply.positive, "rejected": outcome.reply.permanent}
    assert expected.get(kind, kind == "config" or outcome.reply.transient)


@pytest.mark.parametrize("vendor", JUDGES)
@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"null", b'{"errors": 7, "error": [], "Messages": 1}', b"\xff\xfe"]
)
@pytest.mark.parametrize("status", [200, 201, 202, 301, 400, 401, 429, 500, 599])
def test_nonsense_is_judged_by_its_status_and_raises_nothing(vendor: str, status: int, body: bytes) -> None:
    outcome = JUDGES[vendor](answer(status, body))
    expected = {301: "config", 400: "rejected", 401: "config", 429: "throttled", 500: "retry", 599: "retry"}
    if status in expected:
        assert outcome.kind == expected[status]
    else:
        # Something took the request: either that is all this vendor ever says, or the mail is in doubt.
        assert outcome.kind in {"accepted", "ambiguous", "config"} - (
            {"config"} if vendor != "mailgun" else set()
        )


KEYS = (
    *("ErrorCode", "Message", "MessageID", "error", "code", "message", "errors", "reason", "id", "MessageId"),
    *("__type", "name", "results", "total_accepted_recipients", "Messages", "Status", "To", "StatusCode"),
    *(
        "Errors",
        "success",
        "message_ids",
        "responses",
        "warnings",
        "type",
        "status",
        "outcome",
        "ref",
        "text",
    ),
    *("retry_after",),
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.just("success"),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=6),
    max_leaves=12,
)


@pytest.mark.parametrize("vendor", JUDGES)
@given(status=st.sampled_from([200, 201, 202, 400, 403, 409, 420, 422, 429, 500]), body=VALUES)
def test_no_json_makes_an_adapter_raise(vendor: str, status: int, body: Any) -> None:
    outcome = JUDGES[vendor](answer(status, body, retry_after="1"))
    assert isinstance(outcome, Outcome)
    assert outcome.ref is None or isinstance(outcome.ref, str)


def _soon(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("vendor", "said", "seconds"),
    [
        ("graph", lambda: _graph(429, "x", retry_after="12"), 12),
        ("azure", lambda: _azure(429, retry_after="60"), 60),
        ("resend", lambda: _resend(429, "rate_limit_exceeded", ratelimit_reset="1"), 1),
        ("resend", lambda: _resend(429, "rate_limit_exceeded", ratelimit_reset="9", retry_after="2"), 2),
        ("resend", lambda: _resend(429, "daily_quota_exceeded"), 3600),
        ("resend", lambda: _resend(409, "concurrent_idempotent_requests"), 2),
        ("sendgrid", lambda: _sendgrid(429, x_ratelimit_reset=str(int(_soon(30).timestamp()))), 30),
        ("brevo", lambda: _brevo(429, "x", x_sib_ratelimit_reset="7"), 7),
        ("mailersend", lambda: _mailersend(429, "MS42903", retry_after="38"), 38),
        ("mailersend", lambda: _mailersend(429, "MS42901", x_apiquota_reset=_soon(90).isoformat()), 90),
        ("mailgun", lambda: answer(429, {"message": f"try after {format_datetime(_soon(60))}"}), 60),
        (
            "mailgun",
            lambda: answer(429, {"message": f"until {_soon(60):%a, %d %b %Y %H:%M:%S} UTC, please"}),
            60,
        ),
        ("sparkpost", lambda: _sparkpost(429), 5),
        ("ses", lambda: _ses(400, "ThrottlingException", "Daily message quota exceeded."), 600),
        ("http", lambda: answer(503, retry_after=format_datetime(_soon(40), usegmt=True)), 40),
        ("http", lambda: answer(429, retry_after="soon"), None),
        ("postmark", lambda: answer(429), None),
    ],
)
def test_the_time_to_wait_is_found_wherever_it_is(
    vendor: str, said: Callable[[], Answer], seconds: float | None
) -> None:
    outcome = JUDGES[vendor](said())
    if seconds is None:
        assert outcome.retry_after is None
    else:
        # The clock goes on between the making of the answer and its reading.
        assert outcome.retry_after == pytest.approx(seconds, abs=20)


def test_a_batch_is_answered_mail_by_mail() -> None:
    mails = [outgoing(f"r{n}@example.org") for n in range(3)]
    good, bad = {"ErrorCode": 0, "MessageID": "u", "Message": "OK"}, {"ErrorCode": 406, "Message": "inactive"}
    receipts = postmark.outcomes.judge_batch(answer(200, [good, bad, good]), mails)
    assert [receipt[0].kind for receipt in receipts] == ["accepted", "rejected", "accepted"]
    receipts = postmark.outcomes.judge_batch(answer(200, [good, bad]), mails)
    assert {receipt[0].kind for receipt in receipts} == {"ambiguous"}
    receipts = postmark.outcomes.judge_batch(answer(429), mails)
    assert {receipt[0].kind for receipt in receipts} == {"throttled"}
    success, failure = {"success": True, "message_ids": ["a"]}, {"success": False, "errors": ["no"]}
    receipts = mailtrap.outcomes.judge_batch(answer(200, {"responses": [success, failure, success]}), mails)
    assert [receipt[0].kind for receipt in receipts] == ["accepted", "rejected", "accepted"]


def test_replies_are_one_line_of_bearable_length() -> None:
    outcome = common.by_status(answer(400, b"a\r\nb\x00c " + b"x" * 5_000))
    assert outcome.reply.text.startswith("400 a b c x")
    assert len(outcome.reply.text) <= 300
