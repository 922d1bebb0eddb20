"""The vendors there are fakes of."""

from providers.fakes.azure import Azure
from providers.fakes.brevo import Brevo
from providers.fakes.gmail import Gmail
from providers.fakes.graph import Graph
from providers.fakes.mailersend import MailerSend
from providers.fakes.mailgun import Mailgun
from providers.fakes.mailjet import Mailjet
from providers.fakes.mailtrap import Mailtrap
from providers.fakes.postmark import Postmark
from providers.fakes.resend import Resend
from providers.fakes.sendgrid import SendGrid
from providers.fakes.ses import Ses
from providers.fakes.sparkpost import SparkPost
from providers.fakes.webhook import Webhook
from providers.fakes.wire import Vendor

VENDORS: tuple[type[Vendor], ...] = (
    Azure,
    Brevo,
    Gmail,
    Graph,
    MailerSend,
    Mailgun,
    Mailjet,
    Mailtrap,
    Postmark,
    Resend,
    SendGrid,
    Ses,
    SparkPost,
    Webhook,
)
