"""Every way in which we say no, with both faces: the SMTP reply and the HTTP answer.

The first line of a class's docstring is the default message, the rest is what `docs/errors.md` says of it.
Messages are read by clients: they never name hosts, tables, paths or anything else of ours.
`relay/smtp/replies.py` and `api/errors.py` are the only places that put them on a wire.
"""

from typing import ClassVar


class RelayError(Exception):
    """Something went wrong on our side; please try again later.

    A fault of ours: nothing was accepted. The log has it, over REST under the reference in the message.
    """

    #: reply code and enhanced status code (RFC 5321 4.2, RFC 3463)
    smtp: ClassVar[tuple[int, str]] = (451, "4.3.0")
    http_status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_server"

    def __init__(self, message: str | None = None) -> None:
        self.message = message or (self.__doc__ or "").strip().partition("\n")[0]
        super().__init__(self.message)


class Unavailable(RelayError):
    """The service cannot take mail at the moment; please try again later.

    The database cannot be reached, or the process is stopping. Clients try again; nothing has to be
    mended there.
    """

    smtp = (451, "4.3.0")
    http_status = 503
    code = "service_unavailable"

    def __init__(self, message: str | None = None, *, retry_after: float = 5) -> None:
        super().__init__(message)
        #: seconds after which trying again makes sense
        self.retry_after = retry_after
        #: what was asked for may have been done all the same: the line was lost before the answer came
        self.unclear = False


class Full(Unavailable):
    """There is no room for more mail at the moment; please try again later.

    Less than `min_free_space` is left on the disk, or its quota is used up.
    """

    smtp = (452, "4.3.1")


class Refused(RelayError):
    """The request was refused.

    A field or parameter breaks its rule; the message names it and says which.
    """

    smtp = (554, "5.7.0")
    http_status = 400
    code = "api_validation"


class Unauthenticated(Refused):
    """Unauthenticated request. Please try again with correct authentication

    There is no working API key: unknown, ended, revoked, or of a disabled account.
    """

    smtp = (535, "5.7.8")
    http_status = 401
    code = "unauthenticated"


class NotAllowed(Refused):
    """The key does not permit that.

    The key lacks a scope, is used from outside of its networks, or asks for what is another account's.
    """

    smtp = (550, "5.7.1")
    http_status = 403
    code = "unauthorized"


class SenderNotAllowed(Refused):
    """The from address does not belong to this account.

    Add the address or its domain: `pillarbox senders add`.
    """

    smtp = (550, "5.7.1")
    code = "invalid_from_address"


class BadAddress(Refused):
    """That is not a usable email address.

    An address in the request cannot be one; the message says what is wrong with it.
    """

    smtp = (553, "5.1.3")


class BadMessage(Refused):
    """The message is malformed.

    The mail's header block breaks RFC 5322 in a way that cannot be sent on: no From, two of them, a
    wrong control field.
    """

    smtp = (554, "5.6.0")


class Malformed(Refused):
    """Malformed request body

    The body is no JSON or no form, is cut short, or is in no charset that can be read.
    """

    smtp = (501, "5.5.4")
    code = "malformed"


class NoSuchStream(Refused):
    """There is no such stream.

    The mail names a stream that the account does not have: `pillarbox streams list`.
    """

    smtp = (554, "5.7.0")


class Unsendable(Refused):
    """The message cannot be sent as it is.

    Nothing is left of subject or body once they are made safe. The contract's send keeps such a mail, UNSENT, with
    the reason.
    """

    smtp = (554, "5.6.0")
    code = "invalid_template"


class AttachmentFormat(Refused):
    """Attachments must be sent via form-data

    An entry of `attachments` in JSON is no file: it needs `filename` and `content` in base64.
    """

    smtp = (554, "5.6.0")
    code = "attachment_format"


class UnsupportedFile(Unsendable):
    """Error: One or more attachments have an unsupported file type. Please check the attached files.

    A file's extension is not among `api.attachments.types`, or its contents are of another type.
    """


class Suppressed(Unsendable):
    """Recipient email is blacklisted

    The recipient bounced, complained or left before: `pillarbox suppressions list`.
    """

    smtp = (550, "5.1.1")


class AllSuppressed(Suppressed):
    """None of the recipients may be written to: all are suppressed.

    As above, of a message to several recipients, of whom nobody is left.
    """

    code = "suppressed"


class TooManyRecipients(Refused):
    """Too many recipients.

    Send the rest in another message; `smtp.max_recipients` is the SMTP door's number.
    """

    smtp = (452, "4.5.3")
    code = "too_many_recipients"


class TooLarge(Refused):
    """The message is larger than this server takes.

    The message, a file of it, or the request is beyond its limit: `smtp.max_size`, `api.max_request`,
    `api.attachments`.
    """

    smtp = (552, "5.3.4")
    http_status = 413
    code = "attachment_limit"


class RateLimited(Refused):
    """Too many requests. Please try again later.

    More than the key or account may send now: `limits.sends_per_second`, or the key's own limit or
    quota. Wait for the seconds named.
    """

    smtp = (450, "4.7.1")
    http_status = 429
    code = "rate_limit"

    def __init__(self, message: str | None = None, *, retry_after: float = 1) -> None:
        super().__init__(message)
        #: seconds until the next request can succeed
        self.retry_after = retry_after


class NotFound(RelayError):
    """The requested resource does not exist.

    It is not there, or it is another account's; the two look alike.
    """

    smtp = (550, "5.1.1")
    http_status = 404
    code = "not_found"


class Redacted(RelayError):
    """The content of this email has been redacted.

    The message is known, and what it said has been removed for good.
    """

    smtp = (550, "5.1.1")
    http_status = 410
    code = "redacted"


class Conflict(RelayError):
    """The request conflicts with an earlier one.

    What was asked for does not fit what is there, such as a cancel of what has left.
    """

    smtp = (554, "5.5.0")
    http_status = 409
    code = "conflict"


class KeyReused(Conflict):
    """The Idempotency-Key was used for another request.

    An idempotency key stands for one request; use another key for another mail.
    """

    code = "idempotency_key_reused"


class InProgress(Conflict):
    """A request with this Idempotency-Key is in progress; please try again in a moment.

    The first request is still being worked on. Wait for the seconds named and ask again.
    """

    smtp = (451, "4.5.0")
    code = "idempotency_in_progress"

    def __init__(self, message: str | None = None, *, retry_after: float = 1) -> None:
        super().__init__(message)
        #: seconds after which the answer is likely to be there
        self.retry_after = retry_after


class Misconfigured(Exception):
    """The operator's configuration cannot be used. The message says where and why, without secrets."""
