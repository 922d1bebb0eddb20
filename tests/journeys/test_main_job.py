"""The main job with real processes: mail in by both doors, out through a real SMTP server, statuses read back."""

import re
import smtplib
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.installation import Installation, wait_for
from tests.sink import Sink

#: of each hundred recipients
_REFUSED, _GREYLISTED = 10, 20

_OUT = """
[providers.far]
type = "smtp"
host = "127.0.0.1"
port = {port}
tls = "none"

[delivery.retry]
delays = [0.5]
jitter = 0
"""


def recipient(door: str, number: int) -> str:
    """Who gets mail `number`: the sink refuses some of these, greylists some and takes the rest."""
    kind = (
        "refuse" if number % 100 < _REFUSED else "grey" if number % 100 < _REFUSED + _GREYLISTED else "take"
    )
    return f"{kind}-{door}-{number}@far.example"


def mail(number: int) -> bytes:
    """A mail with traps for anything that rewrites: dots, long lines, 8-bit text, odd header folding."""
    return (
        f"From: Ann <ann@example.org>\r\nTo: {recipient('smtp', number)}\r\n"
        f"Subject: =?utf-8?q?caf=C3=A9?=\r\n {number}\r\n"
        "Date: Thu, 01 Jan 2026 00:00:00 +0000\r\n"
        f"Message-ID: <{number}@example.org>\r\nX-Odd:   spaced\t\r\nMIME-Version: 1.0\r\n"
        "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
        f".\r\n..two\r\n.one Grüße {number}\r\n{'x' * 900}\r\n \t\r\nend\r\n"
    ).encode()


def send_by_smtp(installation: Installation, numbers: range) -> dict[int, str]:
    ids = {}
    with smtplib.SMTP("127.0.0.1", installation.smtp_port, timeout=60) as client:
        client.ehlo("client.example")
        client.login("default", installation.key)
        for number in numbers:
            client.mail("ann@example.org", ["BODY=8BITMIME"])
            client.rcpt(recipient("smtp", number))
            code, reply = client.data(mail(number))
            assert code == 250, reply
            ids[number] = re.fullmatch(rb"2\.0\.0 queued as (\d+)", reply)[1].decode()
    return ids


def send_by_rest(installation: Installation, numbers: range) -> dict[int, str]:
    ids = {}
    for number in numbers:
        for _ in range(100):
            status, answer = installation.request(
                "/v1/transactional/email/send",
                {
                    "from": "Ann <ann@example.org>",
                    "recipient": recipient("rest", number),
                    "subject": f"Number {number}",
                    "body": f"<p>Grüße {number}</p>",
                    "tag": "journey",
                },
            )
            if status != 429:
                break
            time.sleep(0.1)
        assert status == 201, answer
        assert answer["status"] == "ACCEPTED"
        ids[number] = answer["id"]
    return ids


def without_trace(raw: bytes) -> bytes:
    """A delivered mail less the one Received field that a relay has to add."""
    assert raw.startswith(b"Received: ")
    return re.sub(rb"\AReceived: .*\r\n(?:[ \t].*\r\n)*", b"", raw)


def play(installation: Installation, sink: Sink, count: int) -> None:
    """Hand in `count` mails by each door at once, and hold what is told against what arrived."""
    with ThreadPoolExecutor(8) as pool:
        quarter = count // 4
        shares = [range(n, n + quarter) for n in range(0, count, quarter)]
        by_smtp = [pool.submit(send_by_smtp, installation, share) for share in shares]
        by_rest = [pool.submit(send_by_rest, installation, share) for share in shares]
        smtp_ids = {number: one for done in by_smtp for number, one in done.result().items()}
        rest_ids = {number: one for done in by_rest for number, one in done.result().items()}
    assert len(smtp_ids) == len(rest_ids) == count

    wait_for(
        lambda: all(m["status"] != "ACCEPTED" for m in installation.messages()), "settling of all mails", 120
    )

    told = {message["id"]: message for message in installation.messages()}
    assert len(told) == 2 * count
    arrived = {one.recipients[0]: one for one in sink.mails}
    times_arrived = Counter(one.recipients[0] for one in sink.mails)
    for door, ids in (("smtp", smtp_ids), ("rest", rest_ids)):
        for number, identifier in ids.items():
            address = recipient(door, number)
            kind = address.partition("-")[0]
            message = told[identifier]
            assert message["recipient"] == address
            expected = ("BOUNCED", "Hard bounce") if kind == "refuse" else ("SENT", None)
            assert (message["status"], message["error_code"]) == expected
            assert (message["sent_at"] is None) == (kind == "refuse")
            assert times_arrived[address] == (0 if kind == "refuse" else 1)
            if door == "smtp" and kind != "refuse":
                assert arrived[address].sender == "ann@example.org"
                assert without_trace(arrived[address].raw) == mail(number)

    for kind, events in {
        "refuse": [("bounced", "550")],
        "grey": [("deferred", "451"), ("sent", "250")],
        "take": [("sent", "250")],
    }.items():
        identifier = next(
            one for number, one in smtp_ids.items() if recipient("smtp", number).startswith(kind)
        )
        status, detail = installation.request(f"/v1/messages/{identifier}")
        assert status == 200
        timeline = [line for line in detail["events"] if line["kind"] != "accepted"]
        assert [(line["kind"], line["reply"][:3]) for line in timeline] == events
        assert [one["attempts"] for one in detail["recipients"]] == [len(events)]
        assert detail["recipients"][0]["reply"].startswith(events[-1][1])


def test_two_hundred_by_each_door_on_embedded_defaults(tmp_path: Path) -> None:
    with Sink() as sink, Installation(tmp_path, _OUT.format(port=sink.port)) as installation:
        process = installation.up()
        play(installation, sink, 200)
        process.popen.terminate()
        assert process.wait() == 0


def test_the_same_on_postgres_and_valkey_with_two_workers(
    tmp_path: Path, postgres_url: str, valkey_url: str
) -> None:
    configuration = _OUT.format(port=0)
    with Sink() as sink:
        configuration = _OUT.format(port=sink.port)
        with Installation(tmp_path, configuration, database=postgres_url, queue=valkey_url) as installation:
            processes = installation.fleet(workers=2)
            play(installation, sink, 200)
            for process in processes:
                process.popen.terminate()
            assert [process.wait() for process in processes] == [0] * len(processes)


@pytest.mark.parametrize("rounds", [3])
def test_killing_everything_in_mid_stream_loses_nothing_accepted(tmp_path: Path, rounds: int) -> None:
    import signal
    import threading

    with Sink() as sink, Installation(tmp_path, _OUT.format(port=sink.port)) as installation:
        accepted: set[str] = set()
        for round_ in range(rounds):
            process = installation.up()
            stop = threading.Event()
            first = 1000 * round_

            def stream(share: int, first: int = first, stop: threading.Event = stop) -> None:
                number = first + share * 250
                try:
                    with smtplib.SMTP("127.0.0.1", installation.smtp_port, timeout=30) as client:
                        client.login("default", installation.key)
                        while not stop.is_set():
                            address = f"take-kill-{number}@far.example"
                            client.sendmail("ann@example.org", [address], mail(number))
                            accepted.add(address)
                            number += 1
                except (smtplib.SMTPException, OSError):
                    return

            before = len(accepted)
            threads = [threading.Thread(target=stream, args=(share,)) for share in range(4)]
            for thread in threads:
                thread.start()
            wait_for(lambda before=before: len(accepted) > before + 40, "some mail's acceptance")
            process.signal_group(signal.SIGKILL)
            stop.set()
            for thread in threads:
                thread.join()
            process.wait()
        installation.up()
        wait_for(
            lambda: accepted <= {one.recipients[0] for one in sink.mails}, "delivery of everything accepted"
        )
        wait_for(
            lambda: all(message["status"] == "SENT" for message in installation.messages()),
            "true statuses again",
        )
        assert {message["recipient"] for message in installation.messages()} >= accepted
