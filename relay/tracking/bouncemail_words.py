"""What kind of mail it is, and what servers say in bounces that are made for people only."""

import re
from collections.abc import Sequence
from enum import Enum, auto

from relay.core import dsn
from relay.core.dsn import Mail
from relay.core.reply import Reply, parse_reply
from relay.tracking import bouncemail_phrases as phrases

#: characters of a bounce's own words that are read
_MOST_TEXT = 8_000


def _any(patterns: Sequence[str]) -> re.Pattern[str]:
    return re.compile("|".join(patterns), re.IGNORECASE | re.DOTALL)


class Kind(Enum):
    """What a mail is, so far as we care."""

    REPORT = auto()  #: a delivery report (RFC 3464)
    COMPLAINT = auto()  #: a feedback report (RFC 5965)
    BOUNCE = auto()  #: a bounce without any form
    ANSWER = auto()  #: an automatic answer, a question whether we are human, a read receipt
    OTHER = auto()


_FROM_SERVER = _any(phrases.FROM_SERVER)
_FAILED = _any(phrases.FAILED)
_ANSWER_SUBJECT = _any(phrases.ANSWER_SUBJECT)
_CHALLENGE = _any(phrases.CHALLENGE)
_AWAY = _any(phrases.AWAY)
_DELAYED = _any(phrases.DELAYED)
_GIVEN_UP = _any(phrases.GIVEN_UP)

#: where a bounce's own words end and what it returns begins
_ORIGINAL = re.compile(
    r"^[ \t>*|#=_-]*(?:(?:-+ *)?(?:" + "|".join(phrases.ORIGINAL) + r")\b.*"
    r"|(?:received|return-path|mime-version|content-type|x-\w[\w-]*): .*)$",
    re.IGNORECASE | re.MULTILINE,
)
#: of the mail that came back: its words are ours
_SUBJECT = re.compile(
    r"^[ \t>*]*(?:subject|subj|betreff|objet|asunto|oggetto|assunto|тема|件名|主题)[ \t]*:.*$",
    re.IGNORECASE | re.MULTILINE,
)
_STATUS = re.compile(r"(?<![\d.])([245]\.\d{1,2}\.\d{1,3})(?![\d.]*\d)")
_REPLY = re.compile(r"(?<![\d.:/])([245]\d\d)(?:[ -]+#?|[:;>]+ *)(?:([245]\.\d{1,2}\.\d{1,3})[ :]*)?(?=\S)")
_AGAIN = re.compile(r"(?:^|\s)\d{3}-(?:[245]\.\d{1,2}\.\d{1,3}\s)?")
_ADDRESS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}@[A-Za-z0-9][A-Za-z0-9.-]{1,252}")


def kind_of(mail: Mail) -> Kind:
    """What the mail is. A form is believed before words, and words of failure before those of an automatic answer."""
    headers = mail.headers
    if (
        mail.feedback
        or mail.parameters.get("report-type", "").lower() == "feedback-report"
        or _bare_complaint(mail)
    ):
        return Kind.COMPLAINT
    if any(
        "disposition-notification" in one for one in (*mail.types, mail.parameters.get("report-type", ""))
    ):
        # A filter's refusal after delivery looks like a receipt (RFC 5429 2.2).
        refused = "automatically rejected" in headers.text("subject").lower()
        return Kind.BOUNCE if refused else Kind.ANSWER
    if mail.statuses and dsn.recipients([block for one in mail.statuses for block in dsn.blocks(one)])[1]:
        return Kind.REPORT
    if headers.has("x-failed-recipients"):
        return Kind.BOUNCE
    subject = headers.text("subject")
    text = human(mail)
    server = bool(_FROM_SERVER.search(headers.get("from")) or headers.get("return-path").strip() == "<>")
    if _is_answer(mail, subject, text, server=server):
        return Kind.ANSWER
    if _FAILED.search(subject) or (server and (_FAILED.search(text) or not headers.get("from"))):
        return Kind.BOUNCE
    return Kind.BOUNCE if mail.parameters.get("report-type", "").lower() == "delivery-status" else Kind.OTHER


def _is_answer(mail: Mail, subject: str, text: str, *, server: bool) -> bool:
    headers = mail.headers
    if _ANSWER_SUBJECT.search(subject) or _CHALLENGE.search(text):
        return True
    if _FAILED.search(subject):
        return False
    answers = (
        headers.get("auto-submitted").lower().startswith("auto-replied")
        or any(
            headers.has(one)
            for one in ("x-autoreply", "x-autorespond", "x-auto-response-suppress", "x-vacation")
        )
        or headers.get("precedence").lower() in {"auto_reply", "auto-reply"}
    )
    if answers and not (server and _FAILED.search(text)):
        return True
    return bool(_AWAY.search(text)) and not server


def _bare_complaint(mail: Mail) -> bool:
    """A complaint as Microsoft's JMRP has sent it: the mail itself, attached to a line about it."""
    return (
        bool(mail.returned)
        and "staff@hotmail.com" in mail.headers.get("from").lower()
        and "complaint about message" in mail.headers.get("subject").lower()
    )


def human(mail: Mail) -> str:
    """What the mail says to people in its own words, without what it returns."""
    text = "\n".join(mail.texts[:4])[: 4 * _MOST_TEXT]
    # The first line may be what introduces a copy and nothing else.
    found = _ORIGINAL.search(text, min(len(text), 40))
    return _SUBJECT.sub("", text[: found.start()] if found else text)[:_MOST_TEXT]


def status_in(text: str) -> str:
    """The first enhanced status code that says more than `5.0.0`, else the first; empty when there is none."""
    found = _STATUS.findall(text)
    return next((one for one in found if not one.endswith(".0.0")), found[0] if found else "")


def reply_in(text: str, status: str) -> Reply | None:
    """The SMTP reply quoted in a text, with its words up to the end of the line."""
    for found in _REPLY.finditer(text):
        if found[1][0] == "2":
            continue
        words = _AGAIN.sub(" ", text[found.end() : found.end() + 500].partition("\n\n")[0])
        reply = parse_reply(int(found[1]), " ".join(words.split()))
        return Reply(reply.code, found[2] or reply.enhanced or status or None, reply.text)
    return None


def said_in(subject: str) -> str:
    """What a bounce's subject says itself, as far as it can be told from the subject of the mail it is about."""
    said = (
        subject.partition(":")[2]
        if subject.lower().startswith("delivery failure:")
        else subject.partition(":")[0]
    )
    return "" if "[" in said else said


def recipient_in(mail: Mail, text: str) -> str:
    """The address that failed, as far as it can be told."""
    named = _ADDRESS.search(mail.headers.get("x-failed-recipients"))
    found = named or _ADDRESS.search(text)
    return found[0].strip(".") if found else ""


def only_delayed(subject: str, text: str) -> bool:
    """Whether nothing has failed for good yet."""
    return bool(_DELAYED.search(f"{subject}\n{text}")) and not _GIVEN_UP.search(text)


def said_of(text: str, address: str) -> str:
    """What stands behind an address in its line; empty where no line begins with it."""
    found = re.search(rf"^[ \t]*<?{re.escape(address)}>?:[ \t]+(\S.*)$", text, re.IGNORECASE | re.MULTILINE)
    return found[1].strip() if found else ""
