"""An SMTP reply: what a server said, or what we would say."""

import re
from dataclasses import dataclass

from relay.core.text import storable

#: characters of a reply that are kept
_LONGEST = 4000

_ENHANCED = re.compile(r"([245]\.\d{1,3}\.\d{1,3})(?:\s+|$)")


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply code (RFC 5321 4.2), its enhanced status code (RFC 3463) when one was given, and the words."""

    code: int
    enhanced: str | None
    text: str

    def __post_init__(self) -> None:
        # What cannot be recorded would be sent again.
        text = storable(self.text, _LONGEST)
        if text != self.text:
            object.__setattr__(self, "text", text)

    def __str__(self) -> str:
        return " ".join(part for part in (str(self.code), self.enhanced, self.text) if part)

    @property
    def positive(self) -> bool:
        return 200 <= self.code < 400

    @property
    def transient(self) -> bool:
        """Worth another try (4xx)."""
        return 400 <= self.code < 500

    @property
    def permanent(self) -> bool:
        return self.code >= 500


def parse_reply(code: int, text: str) -> Reply:
    """A reply from a code and the text after it; the enhanced code is taken from the first line that has one."""
    words = []
    enhanced: str | None = None
    for line in text.splitlines():
        found = _ENHANCED.match(line)
        if found:
            enhanced = enhanced or found[1]
            words.append(line[found.end() :].strip())
        else:
            words.append(line.strip())
    return Reply(code, enhanced, " ".join(filter(None, words)))
