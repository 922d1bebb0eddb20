"""Every way in which we say no, with both faces: the SMTP reply and the HTTP answer.

The class docstring is the default message. Messages are read by clients: they never name hosts, tables, paths
or anything else of ours. `relay/smtp/replies.py` and `api/errors.py` are the only places that put them on a wire.
"""

from typing import ClassVar


class RelayError(Exception):
    """Something went wrong on our side; please try again later."""

    #: reply code and enhanced status code (RFC 5321 4.2, RFC 3463)
    smtp: ClassVar[tuple[int, str]] = (451, "4.3.0")
    http_status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_server"

    def __init__(self, message: str | None = None) -> None:
        self.message = message or (self.__doc__ or "").strip().partition("\n")[0]
        super().__init__(self.message)


class Unavailable(RelayError):
    """The service cannot take mail at the moment; please try again later."""

    smtp = (451, "4.3.0")
    http_status = 503
    code = "service_unavailable"

    def __init__(self, message: str | None = None, *, retry_after: float = 5) -> None:
        super().__init__(message)
        #: seconds after which trying again makes sense
        self.retry_after = retry_after


class Full(Unavailable):
    """There is no room for more mail at the moment; please try again later."""

    smtp = (452, "4.3.1")


class Refused(RelayError):
    """The request was refused."""

    smtp = (554, "5.7.0")
    http_status = 400
    code = "api_validation"


class Unauthenticated(Refused):
    """Unauthenticated request. Please try again with correct authentication"""

    smtp = (535, "5.7.8")
    http_status = 401
    code = "unauthenticated"


class NotAllowed(Refused):
    """The key does not permit that."""

    smtp = (550, "5.7.1")
    http_status = 403
    code = "unauthorized"


class SenderNotAllowed(Refused):
    """The from address does not belong to this account."""

    smtp = (550, "5.7.1")
    code = "invalid_from_address"


class BadAddress(Refused):
    """That is not a usable email address."""

    smtp = (553, "5.1.3")


class BadMessage(Refused):
    """The message is malformed."""

    smtp = (554, "5.6.0")


class Malformed(Refused):
    """Malformed request body"""

    smtp = (501, "5.5.4")
    code = "malformed"


class NoSuchStream(Refused):
    """There is no such stream."""

    smtp = (554, "5.7.0")


class Unsendable(Refused):
    """The message cannot be sent as it is."""

    smtp = (554, "5.6.0")
    code = "invalid_template"


class AttachmentFormat(Refused):
    """Attachments must be sent via form-data"""

    smtp = (554, "5.6.0")
    code = "attachment_format"


class UnsupportedFile(Unsendable):
    """Error: One or more attachments have an unsupported file type. Please check the attached files."""


class Suppressed(Unsendable):
    """Recipient email is blacklisted"""

    smtp = (550, "5.1.1")


class AllSuppressed(Suppressed):
    """None of the recipients may be written to: all are suppressed."""

    code = "suppressed"


class TooManyRecipients(Refused):
    """Too many recipients."""

    smtp = (452, "4.5.3")
    code = "too_many_recipients"


class TooLarge(Refused):
    """The message is larger than this server takes."""

    smtp = (552, "5.3.4")
    http_status = 413
    code = "attachment_limit"


class RateLimited(Refused):
    """Too many requests. Please try again later."""

    smtp = (450, "4.7.1")
    http_status = 429
    code = "rate_limit"

    def __init__(self, message: str | None = None, *, retry_after: float = 1) -> None:
        super().__init__(message)
        #: seconds until the next request can succeed
        self.retry_after = retry_after


class NotFound(RelayError):
    """The requested resource does not exist."""

    smtp = (550, "5.1.1")
    http_status = 404
    code = "not_found"


class Redacted(RelayError):
    """The content of this email has been redacted."""

    smtp = (550, "5.1.1")
    http_status = 410
    code = "redacted"


class Conflict(RelayError):
    """The request conflicts with an earlier one."""

    smtp = (554, "5.5.0")
    http_status = 409
    code = "conflict"


class KeyReused(Conflict):
    """The Idempotency-Key was used for another request."""

    code = "idempotency_key_reused"


class InProgress(Conflict):
    """A request with this Idempotency-Key is in progress; please try again in a moment."""

    smtp = (451, "4.5.0")
    code = "idempotency_in_progress"

    def __init__(self, message: str | None = None, *, retry_after: float = 1) -> None:
        super().__init__(message)
        #: seconds after which the answer is likely to be there
        self.retry_after = retry_after


class Misconfigured(Exception):
    """The operator's configuration cannot be used. The message says where and why, without secrets."""
