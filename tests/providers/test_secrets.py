"""No secret of any provider is seen: not in what it is printed as, not in what an operator is told, not when the far
end quotes back everything it was sent.
"""

import asyncio
import base64
import contextlib
import http.server
import json
import threading
import urllib.parse
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from providers import registry
from relay import config
from relay.core.errors import Misconfigured
from relay.core.provider import Provider, ProviderProblem
from relay.testing import outgoing

#: with what URLs, JSON and base64 spell differently
SECRET = "Sw0rd+fish/&more=="
#: one that is base64, as Azure's is
KEY = base64.b64encode(b"the key of an Azure resource").decode()
LOGIN = {"webhook_user": "vendor", "webhook_password": SECRET}

PROVIDERS: dict[str, dict[str, Any]] = {
    "azure": {"access_key": KEY},
    "brevo": {"api_key": SECRET},
    "gmail": {"client_id": "we", "client_secret": SECRET, "refresh_token": f"{SECRET}2"},
    "graph": {"mailbox": "a@example.org", "tenant": "t", "client_id": "we", "client_secret": SECRET},
    "http": {"secret": SECRET},
    "mailersend": {"api_key": SECRET},
    "mailgun": {"api_key": SECRET, "domain": "example.org"},
    "mailjet": {"api_key": "public", "secret_key": SECRET},
    "mailtrap": {"token": SECRET},
    "postmark": {"token": SECRET},
    "resend": {"api_key": SECRET},
    "sendgrid": {"api_key": SECRET},
    "ses": {"region": "eu-west-1", "access_key": "AKIA", "secret_key": SECRET, "session_token": f"{SECRET}3"},
    "smtp": {"username": "we", "password": SECRET, "plaintext_auth": True, "tls": "none"},
    "sparkpost": {"api_key": SECRET},
}
#: these have nothing to hide
OPEN = {"capture", "file", "memory", "mx"}


def test_every_kind_is_swept() -> None:
    assert set(registry.kinds()) - {"pigeon"} == set(PROVIDERS) | OPEN


class _Echo(http.server.BaseHTTPRequestHandler):
    """Answers with all that it was sent, as text and as the words of JSON errors."""

    status = 401
    body_first = False

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0)).decode("utf-8", "replace")
        # Answers are cut short before they are told, so what matters comes first.
        dull = (
            "host",
            "user-agent",
            "accept",
            "accept-encoding",
            "connection",
            "content-type",
            "content-length",
        )
        headers = " ".join(value for name, value in self.headers.items() if name.lower() not in dull)
        said = f"{body} {headers}" if self.body_first else f"{headers} {body}"
        words = dict.fromkeys(
            ("message", "Message", "error", "error_description", "name", "ErrorMessage"), said
        )
        answer = json.dumps({**words, "errors": [words | {"message": said}], "said": said}).encode()
        self.send_response(self.status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.send_header("x-request", " ".join(self.headers.get("authorization", "").split()))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST = do_PUT = _answer  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def echo() -> Iterator[type[_Echo]]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Echo)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    _Echo.url = f"http://127.0.0.1:{server.server_address[1]}"  # type: ignore[attr-defined]
    yield _Echo
    server.shutdown()
    thread.join(10)
    server.server_close()


def made(kind: str, url: str, **more: Any) -> Provider:
    return registry.build({"it": {"type": kind, **placed(kind, url), **more}})["it"]


def placed(kind: str, url: str) -> dict[str, Any]:
    options = dict(PROVIDERS[kind])
    if kind == "smtp":
        return {**options, "host": "127.0.0.1", "port": int(url.rpartition(":")[2]), "connect_timeout": 1}
    if kind == "http":
        return {**options, "url": f"{url}/mail"}
    if kind in {"gmail", "graph"}:
        options["token_url"] = f"{url}/token"
    return {**options, "base_url": url}


def spellings(options: Mapping[str, Any]) -> set[str]:
    """Everything that gives a secret away."""
    found: set[str] = set()
    for value in options.values():
        if not isinstance(value, str) or not (SECRET in value or value == KEY):
            continue
        found |= {value, urllib.parse.quote(value, safe=""), urllib.parse.quote_plus(value)}
        found |= {json.dumps(value)[1:-1], base64.b64encode(value.encode()).decode()}
        for name in ("api", "public", "we", "vendor"):
            found.add(base64.b64encode(f"{name}:{value}".encode()).decode())
            found.add(base64.b64encode(f"\0{name}\0{value}".encode()).decode())
    assert found
    return found


def given_away(told: str, kind: str) -> list[str]:
    return [one for one in spellings(PROVIDERS[kind]) if one in told]


async def all_it_says(provider: Provider) -> str:
    said = [repr(provider), str(provider)]
    try:
        said.append(await provider.check())
    except ProviderProblem as problem:
        said.append(str(problem))
    mail = outgoing("jane@example.org", raw=MAIL)
    for receipt in await provider.send([mail]):
        said += [repr(outcome) for outcome in receipt]
    await provider.aclose()
    return "\n".join(said)


MAIL = (
    b"From: Ann <ann@example.com>\r\nTo: jane@example.org\r\nSubject: hello\r\n"
    b"Content-Type: text/html\r\n\r\n<p>hello</p>\r\n"
)


@pytest.mark.parametrize("body_first", [False, True])
@pytest.mark.parametrize("status", [200, 400, 401, 500])
@pytest.mark.parametrize("kind", sorted(set(PROVIDERS) - {"smtp"}))
def test_a_far_end_that_quotes_everything_back(
    echo: type[_Echo], kind: str, status: int, body_first: bool
) -> None:
    echo.status, echo.body_first = status, body_first
    told = asyncio.run(all_it_says(made(kind, echo.url)))  # type: ignore[attr-defined]
    assert "127.0.0.1" in told or kind == "http"
    assert given_away(told, kind) == []


@pytest.mark.parametrize("kind", sorted(PROVIDERS))
def test_a_far_end_that_is_not_there(kind: str) -> None:
    told = asyncio.run(all_it_says(made(kind, "http://127.0.0.1:1")))
    assert given_away(told, kind) == []


@pytest.mark.parametrize("kind", sorted(PROVIDERS))
def test_options_that_are_refused(kind: str) -> None:
    good = placed(kind, "http://127.0.0.1:1")
    refused = 0
    for name in (*good, "verbosity"):
        for wrong in ({"a": SECRET}, f"{SECRET}\n{SECRET}", ""):
            with contextlib.suppress(Misconfigured):
                registry.build({"it": {"type": kind, **good, name: wrong}})
                continue
            refused += 1
            with pytest.raises(Misconfigured) as error:
                registry.build({"it": {"type": kind, **good, name: wrong}})
            assert SECRET not in str(error.value)
    assert refused


@pytest.mark.parametrize("kind", sorted(PROVIDERS))
def test_the_configuration_is_shown_without_them(kind: str) -> None:
    options = {**PROVIDERS[kind], **LOGIN, "proxy": f"http://us:{SECRET}@proxy.example:3128"}
    shown = str(config.redacted(options))
    assert given_away(shown, kind) == []
    assert SECRET not in shown
    assert "proxy.example:3128" in shown
    assert config.redacted({"token": "env:TOKEN", "key": "file:/run/key"}) == {
        "token": "env:TOKEN",
        "key": "file:/run/key",
    }


@pytest.mark.parametrize("kind", sorted(PROVIDERS))
def test_settings_are_printed_without_them(kind: str) -> None:
    lines = [
        f'type = "{kind}"',
        *(f"{key} = {json.dumps(value)}" for key, value in placed(kind, "http://127.0.0.1:1").items()),
    ]
    settings = config.parse("[providers.it]\n" + "\n".join(lines) + "\n")
    assert given_away(f"{settings!r} {settings}", kind) == []
    with pytest.raises(Misconfigured) as refused:
        config.parse("[providers.it]\n" + "\n".join(lines) + '\nrate = "fast"\n')
    assert given_away(str(refused.value), kind) == []
