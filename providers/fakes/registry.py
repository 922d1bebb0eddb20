"""The vendors there are fakes of."""

from providers.fakes.mailgun import Mailgun
from providers.fakes.postmark import Postmark
from providers.fakes.resend import Resend
from providers.fakes.sendgrid import SendGrid
from providers.fakes.ses import Ses
from providers.fakes.wire import Vendor

VENDORS: tuple[type[Vendor], ...] = (Mailgun, Postmark, Resend, SendGrid, Ses)
