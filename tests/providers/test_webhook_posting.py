"""How the fakes post: where, how often, in which order, and what they do when nobody takes it."""

import asyncio
import json
import threading
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from relay.core.event import EventKind
from relay.core.provider import OutcomeKind
from relay.testing import outgoing
from tests.installation import wait_for
from tests.providers.fakery import LOGIN, FakeServer, webhook
from tests.providers.webhooks import adapter, believer, source

HTML = b"From: ann@example.com\r\nTo: a@example.org\r\nSubject: hello\r\nContent-Type: text/html\r\n\r\n<p>x</p>\r\n"
Answer = Callable[[bytes], tuple[int, bytes]]


class Receiver:
    """Somebody's webhook: keeps what comes and answers as it is told."""

    def __init__(self) -> None:
        self.came: list[tuple[dict[str, str], bytes]] = []
        self.answer: Answer = lambda _: (200, b"")
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver.came.append(({name.lower(): value for name, value in self.headers.items()}, body))
                status, said = receiver.answer(body)
                self.send_response(status)
                self.send_header("content-length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

            def log_message(self, *_: object) -> None:
                """Tests read what came."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"
        self.thread = threading.Thread(target=self.server.serve_forever, name="receiver")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    made.thread.start()
    yield made
    made.server.shutdown()
    made.thread.join(10)
    made.server.server_close()


def control(server: FakeServer, **said: Any) -> tuple[int, Any]:
    request = urllib.request.Request(server.url("webhooks"), json.dumps(said).encode())  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def send(server: FakeServer, vendor: str, *addresses: str) -> None:
    async def run() -> None:
        provider = believer(server, vendor)
        for address in addresses:
            ((outcome,),) = await provider.send([outgoing(address, raw=HTML)])
            assert outcome.kind is OutcomeKind.ACCEPTED
        await provider.aclose()

    asyncio.run(run())


def statuses(server: FakeServer, vendor: str) -> list[int | None]:
    """How the posts of this vendor's were answered, as far as it has heard."""
    with urllib.request.urlopen(server.url("webhooks/posted"), timeout=20) as answer:  # noqa: S310
        return [one["status"] for one in json.load(answer) if one["vendor"] == vendor]


def kinds(vendor: str, came: list[tuple[dict[str, str], bytes]]) -> list[EventKind]:
    provider = adapter(vendor)
    asyncio.run(provider.aclose())
    return [report.kind for headers, body in came for report in source(provider).read(webhook(body, headers))]


def test_events_are_posted_in_the_order_they_happened(fake_server: FakeServer, receiver: Receiver) -> None:
    assert control(fake_server, vendor="mailgun", url=receiver.url) == (
        200,
        {"vendor": "mailgun", "believed": {"webhook_key": "fake-key"}},
    )
    send(fake_server, "mailgun", "click@example.org")
    wait_for(lambda: len(receiver.came) == 4, "four events")
    told = [EventKind.SENT, EventKind.DELIVERED, EventKind.OPENED, EventKind.CLICKED]
    assert kinds("mailgun", receiver.came) == told


def test_copies_are_the_same_post_again_and_shuffled_ones_are_all_there(
    fake_server: FakeServer, receiver: Receiver
) -> None:
    control(fake_server, vendor="resend", url=receiver.url, copies=3, order="shuffled")
    send(fake_server, "resend", *(f"click@{n}.example" for n in range(5)))
    wait_for(lambda: len(receiver.came) == 60, "three times four events of five mails")
    assert set(Counter(body for _, body in receiver.came).values()) == {3}
    assert set(Counter(headers["svix-id"] for headers, _ in receiver.came).values()) == {3}
    told = Counter(kinds("resend", receiver.came))
    assert told == dict.fromkeys(
        (EventKind.SENT, EventKind.DELIVERED, EventKind.OPENED, EventKind.CLICKED), 15
    )


def test_what_is_not_taken_comes_again(fake_server: FakeServer, receiver: Receiver) -> None:
    refusals = [503, 401]
    receiver.answer = lambda _: (refusals.pop() if refusals else 200, b"")
    control(fake_server, vendor="postmark", url=receiver.url)
    send(fake_server, "postmark", "jane@example.org")
    wait_for(lambda: len(receiver.came) == 3, "two more tries")
    assert len({body for _, body in receiver.came}) == 1
    # What came here last may not have been answered yet.
    wait_for(
        lambda: statuses(fake_server, "postmark")[-3:] == [401, 503, 200], "its being told how that ended"
    )


def test_a_login_in_the_url_goes_into_a_header(fake_server: FakeServer, receiver: Receiver) -> None:
    url = receiver.url.replace("//", "//vendor:s3cret%3Awith%20colon@")
    control(fake_server, vendor="brevo", url=url)
    send(fake_server, "brevo", "jane@example.org")
    wait_for(lambda: len(receiver.came) == 2, "request and delivered")
    provider = adapter("brevo", **LOGIN)
    request = webhook(receiver.came[0][1], receiver.came[0][0])
    assert asyncio.run(source(provider).receive(request)) is None


def test_amazon_tells_nothing_before_its_subscription_is_confirmed(
    fake_server: FakeServer, receiver: Receiver
) -> None:
    fake_server.fakes["ses"]._sns.confirmed = False  # type: ignore[attr-defined]

    def confirm(body: bytes) -> tuple[int, bytes]:
        message = json.loads(body)
        if message["Type"] == "SubscriptionConfirmation":
            with urllib.request.urlopen(message["SubscribeURL"], timeout=20):  # noqa: S310
                pass
        return 200, b""

    receiver.answer = confirm
    control(fake_server, vendor="ses", url=receiver.url)
    send(fake_server, "ses", "jane@example.org")
    wait_for(lambda: len(receiver.came) == 3, "the confirmation and two events")
    assert [headers["x-amz-sns-message-type"] for headers, _ in receiver.came] == [
        "SubscriptionConfirmation",
        "Notification",
        "Notification",
    ]


def test_a_url_that_does_not_answer_event_grid_gets_no_events(
    fake_server: FakeServer, receiver: Receiver
) -> None:
    control(fake_server, vendor="azure", url=receiver.url)
    wait_for(lambda: "azure" not in fake_server.fakes.poster.hooks, "the end of the subscription")
    send(fake_server, "azure", "jane@example.org")
    assert [headers["aeg-event-type"] for headers, _ in receiver.came] == ["SubscriptionValidation"]


def test_without_a_url_it_stops(fake_server: FakeServer, receiver: Receiver) -> None:
    control(fake_server, vendor="mailtrap", url=receiver.url)
    assert control(fake_server, vendor="mailtrap")[0] == 200
    send(fake_server, "mailtrap", "jane@example.org")
    assert receiver.came == []


@pytest.mark.parametrize(
    "said",
    [
        {"vendor": "nobody", "url": "http://127.0.0.1:9"},
        {"vendor": "postmark", "url": "http://elsewhere.example/hook"},
        {"vendor": "postmark", "url": "not a url"},
        {"vendor": "postmark", "url": "http://127.0.0.1:9", "copies": 0},
        {"vendor": "postmark", "url": "http://127.0.0.1:9", "order": "backwards"},
        {"vendor": "postmark", "url": "http://127.0.0.1:9", "delay": "long"},
        {},
    ],
)
def test_what_cannot_be_a_webhook_is_refused_with_a_reason(
    fake_server: FakeServer, said: dict[str, Any]
) -> None:
    status, answer = control(fake_server, **said)
    assert status == 400
    assert answer["message"].startswith("not a webhook: ")


def test_it_shows_what_to_believe(fake_server: FakeServer) -> None:
    with urllib.request.urlopen(fake_server.url("webhooks"), timeout=20) as answer:  # noqa: S310
        shown = json.load(answer)
    assert shown["ses"]["believed"] == {
        "topics": "arn:aws:sns:eu-west-1:123456789012:pillarbox-fake",
        "certificate_hosts": f"127.0.0.1:{fake_server.port}",
    }
    assert shown["postmark"] == {"url": None, "believed": {}}
    assert adapter("sendgrid", **shown["sendgrid"]["believed"])
