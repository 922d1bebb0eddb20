"""One trace for each mail, over all processes, as a collector receives it."""

import email
import email.policy
import re
import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from relay.observe.traces import trace_of
from tests.installation import Installation, wait_for


class Collector(ThreadingHTTPServer):
    """Takes spans by OTLP over HTTP."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.spans: list[tuple[str, Any]] = []

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1/traces"


class _Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            import gzip

            body = gzip.decompress(body)
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            fields = {one.key: one.value.string_value for one in resource.resource.attributes}
            for scope in resource.scope_spans:
                self.server.spans += [(fields["service.instance.id"], span) for span in scope.spans]
        answer = ExportTraceServiceResponse().SerializeToString()
        self.send_response(200)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def collector() -> Iterator[Collector]:
    server = Collector()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_mails_way_is_one_trace(collector: Collector, tmp_path: Path) -> None:
    configuration = f'[traces]\nendpoint = "{collector.endpoint}"\n[tracking]\nurl = "https://mail.example"\n'
    with Installation(tmp_path, configuration) as installation:
        installation.up()
        mail = {
            "from": "you@example.org",
            "recipient": "one@example.net",
            "subject": "Hello",
            "body": "<p>Hello",
        }
        status, sent = installation.request(
            "/v1/transactional/email/send", {**mail, "track": {"opens": True}}
        )
        assert status == 201
        captured = wait_for(lambda: list((tmp_path / "data/captured").rglob("*.eml")), "the captured mail")
        read = email.message_from_bytes(captured[0].read_bytes(), policy=email.policy.default)
        html = read.get_body()
        assert html
        pixel = re.search(r"https://mail\.example(/t/[^\"]+\.gif)", html.get_content())
        assert pixel
        with urllib.request.urlopen(f"http://127.0.0.1:{installation.api_port}{pixel[1]}", timeout=60):
            pass

        def complete() -> bool:
            return {"accept", "send", "opened"} <= {span.name for _, span in list(collector.spans)}

        wait_for(complete, "the spans of both processes")
    spans = {span.name: (role, span) for role, span in collector.spans}
    (door, accept), (worker, send) = spans["accept"], spans["send"]
    assert (door, worker) == ("api", "worker")
    opened = spans["opened"][1]
    assert (
        accept.trace_id == send.trace_id == opened.trace_id == trace_of(int(sent["id"])).to_bytes(16, "big")
    )
    assert send.parent_span_id == opened.parent_span_id == accept.span_id
    assert not accept.parent_span_id
    assert accept.start_time_unix_nano <= accept.end_time_unix_nano
    fields = {one.key: one.value.string_value for one in send.attributes}
    assert (fields["provider"], fields["outcome"]) == ("capture", "accepted")


def test_no_mail_is_traced_at_a_share_of_nothing(collector: Collector, tmp_path: Path) -> None:
    configuration = f'[traces]\nendpoint = "{collector.endpoint}"\nratio = 0\n'
    with Installation(tmp_path, configuration) as installation:
        process = installation.up()
        mail = {
            "from": "you@example.org",
            "recipient": "one@example.net",
            "subject": "Hello",
            "body": "Hello",
        }
        assert installation.request("/v1/transactional/email/send", mail)[0] == 201
        process.end()
    assert collector.spans == []
