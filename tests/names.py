"""A real name server on 127.0.0.1 for tests, which knows what it is told and counts what it is asked.

    with Names({"example.org": {"MX": ["10 mx.example.org."]}, "mx.example.org": {"A": ["127.0.0.2"]}}) as names:
        ...  # ask names.address

A name with the record `{"FAIL": []}` is answered SERVFAIL, one with `{"SILENT": []}` not at all.
"""

import socket
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Self

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

Zone = Mapping[str, Mapping[str, Sequence[str]]]


class Names:
    """`zone` may be changed while it runs; times to live are 0, so nobody keeps an answer."""

    def __init__(self, zone: Zone) -> None:
        self.zone = dict(zone)
        self.asked: Counter[tuple[str, str]] = Counter()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, name="names", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", self._socket.getsockname())
        self._thread.join(10)
        self._socket.close()

    def _serve(self) -> None:
        while True:
            wire, client = self._socket.recvfrom(4_096)
            if not wire:
                return
            answer = self._answer(dns.message.from_wire(wire))
            if answer is not None:
                self._socket.sendto(answer.to_wire(), client)

    def _answer(self, query: dns.message.Message) -> dns.message.Message | None:
        (question,) = query.question
        name = question.name.to_text(omit_final_dot=True).lower()
        kind = dns.rdatatype.to_text(question.rdtype)
        self.asked[name, kind] += 1
        known = self.zone.get(name)
        answer = dns.message.make_response(query, recursion_available=True)
        if known is None:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        elif "SILENT" in known:
            return None
        elif "FAIL" in known:
            answer.set_rcode(dns.rcode.SERVFAIL)
        elif records := known.get(kind):
            answer.answer.append(dns.rrset.from_text(question.name, 0, "IN", kind, *records))
        return answer
