"""Where well-known services take mail, so that an operator says `preset = "gmail"` and no more.

Each is the service's own page on SMTP; all of them are submission with TLS (RFC 6409, RFC 8314).
"""

from typing import NamedTuple


class Preset(NamedTuple):
    """`{region}` in a host is the option of that name; `username` is what the service wants of everybody."""

    host: str
    port: int = 587
    username: str | None = None


PRESETS: dict[str, Preset] = {
    "brevo": Preset("smtp-relay.brevo.com"),
    "fastmail": Preset("smtp.fastmail.com", 465),
    "gmail": Preset("smtp.gmail.com"),
    "icloud": Preset("smtp.mail.me.com"),
    "mailersend": Preset("smtp.mailersend.net"),
    "mailgun": Preset("smtp.mailgun.org"),
    "mailgun-eu": Preset("smtp.eu.mailgun.org"),
    "mailjet": Preset("in-v3.mailjet.com"),
    "mailtrap": Preset("live.smtp.mailtrap.io", 587, "api"),
    "office365": Preset("smtp.office365.com"),
    "postmark": Preset("smtp.postmarkapp.com"),
    "postmark-broadcasts": Preset("smtp-broadcasts.postmarkapp.com"),
    "resend": Preset("smtp.resend.com", 587, "resend"),
    "sendgrid": Preset("smtp.sendgrid.net", 587, "apikey"),
    "ses": Preset("email-smtp.{region}.amazonaws.com"),
    "sparkpost": Preset("smtp.sparkpostmail.com", 587, "SMTP_Injection"),
    "sparkpost-eu": Preset("smtp.eu.sparkpostmail.com", 587, "SMTP_Injection"),
    "workspace-relay": Preset("smtp-relay.gmail.com"),
    "yahoo": Preset("smtp.mail.yahoo.com", 465),
}
