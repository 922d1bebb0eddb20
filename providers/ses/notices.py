"""What comes by SNS: whose it is, and the handshake. https://docs.aws.amazon.com/sns/latest/dg/SendMessageToHttp.prepare.html

A right signature is not enough, because every AWS customer can have one for a topic of theirs: the topic must be
one of ours. And every URL in a message is somebody else's word until its host is known to be Amazon's.
"""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

from providers import outcomes, signatures
from providers.http import Answer, Call, Http, NoAnswer, json_of
from providers.options import Options
from providers.told import Told
from relay.core.errors import Misconfigured
from relay.core.provider import NotAuthentic, WebhookAnswer, WebhookRequest

_TOPIC = re.compile(r"arn:aws[a-z-]*:sns:[a-z0-9-]+:\d{12}:[A-Za-z0-9_.-]+\Z")
_HOST = re.compile(r"sns\.[a-z0-9-]{3,}\.amazonaws\.com(?:\.cn)?\Z")
_CERTIFICATE = re.compile(r"/SimpleNotificationService-[A-Za-z0-9]+\.pem\Z")
#: seconds: SNS repeats a message for an hour at most, with the time of the first try
_WINDOW = 4_500.0
#: SNS has one certificate at a time, and another once in a while
_MOST_CERTIFICATES = 16

_LATER = WebhookAnswer(503)
_TAKEN = WebhookAnswer()


class Notices:
    """The SNS messages of one provider."""

    def __init__(self, read: Options) -> None:
        """Takes `topics` and `certificate_hosts`."""
        self._topics = read.names("topics")
        for topic in self._topics:
            if not _TOPIC.match(topic):
                raise Misconfigured(
                    "topics must be ARNs, such as arn:aws:sns:eu-west-1:123456789012:mail-events"
                )
        self._hosts = read.names("certificate_hosts")
        self._certificates: dict[str, bytes] = {}

    async def receive(self, request: WebhookRequest, http: Http) -> WebhookAnswer | None:
        """As of `WebhookSource`; `http` fetches a certificate that is new, and confirms subscriptions."""
        message = self._ours(request)
        try:
            await self._verify(message, http)
        except NoAnswer:
            return _LATER
        if message["Type"] == "SubscriptionConfirmation":
            return await self._confirm(message, http)
        return None if message["Type"] == "Notification" else _TAKEN

    def _ours(self, request: WebhookRequest) -> Mapping[str, Any]:
        """Everything that can be said without asking anybody."""
        if not self._topics:
            raise NotAuthentic("topics is not set for this provider, so anybody's topic would do")
        if "x-amz-sns-rawdelivery" in request.headers:
            raise NotAuthentic(
                "raw message delivery is on for this subscription, which leaves out the signature"
            )
        message = Told(json_of(request.body))
        if message.text("TopicArn") not in self._topics:
            raise NotAuthentic("the topic is not one of this provider's topics")
        signatures.sns_signed(message.data)
        moment = message.moment("Timestamp")
        if moment is None or abs((request.at - moment).total_seconds()) > _WINDOW:
            raise NotAuthentic("the message is too old, or the clocks differ")
        return message.data

    async def _verify(self, message: Mapping[str, Any], http: Http) -> None:
        url = self._amazons(message.get("SigningCertURL"))
        parts = urlsplit(url)
        # SNS's own calls answer on the same host with words of their callers'; they are in the query.
        path = parts.path if parts.netloc not in self._hosts else f"/{parts.path.rpartition('/')[2]}"
        if not _CERTIFICATE.match(path) or "?" in url or "#" in url:
            raise NotAuthentic("the certificate's address is not one that SNS has")
        known = self._certificates.get(url)
        if known is not None:
            signatures.sns(known, message)
            return
        answer = await _get(url, http)
        if answer.status != 200:
            raise NotAuthentic("there is no certificate where the message says")
        signatures.sns(answer.body, message)
        if len(self._certificates) >= _MOST_CERTIFICATES:
            self._certificates.clear()
        self._certificates[url] = answer.body

    async def _confirm(self, message: Mapping[str, Any], http: Http) -> WebhookAnswer:
        url = self._amazons(message.get("SubscribeURL"))
        asked = parse_qs(urlsplit(url).query)
        if asked.get("Action") != ["ConfirmSubscription"] or asked.get("TopicArn") != [message["TopicArn"]]:
            raise NotAuthentic("the address to confirm at confirms something else")
        try:
            answer = await _get(url, http)
        except NoAnswer:
            return _LATER
        return _TAKEN if answer.status == 200 else _LATER

    def _amazons(self, url: object) -> str:
        """The URL, when it leads to SNS and nowhere else."""
        try:
            parts = urlsplit(url if isinstance(url, str) else "")
            port = parts.port
        except ValueError:
            raise NotAuthentic("an address in the message does not lead to SNS") from None
        plain = isinstance(url, str) and url.isascii() and url.isprintable() and "\\" not in url
        theirs = parts.scheme == "https" and port is None and _HOST.match(parts.netloc)
        tried_out = parts.scheme in {"http", "https"} and parts.netloc in self._hosts
        if not plain or not (theirs or tried_out):
            raise NotAuthentic("an address in the message does not lead to SNS")
        return str(url)


async def _get(url: str, http: Http) -> Answer:
    """Raises `NoAnswer` also when they have trouble of their own, which is no fault of the message."""
    answer = await http.call(Call(url, method="GET"))
    if answer.status >= 500:
        raise NoAnswer(outcomes.by_status(answer))
    return answer
