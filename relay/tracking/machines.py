"""Who fetched a pixel or followed a link: a person, or a program that looks at mail before people do.

Programs are told by how they name themselves and what they say they are up to. Scanners that pretend to be browsers
are not told, which is why an open is the weakest thing to know of a mail.

Sources: Apple "Mail Privacy Protection" and what its proxies are seen to send; Google "Images in Gmail" (its proxy
fetches when the mail is shown); the vendors' notes on link scanning; RFC 9110 9.3.2; Fetch on Sec-Purpose.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Visitor:
    """What is known of whoever came."""

    machine: bool
    rule: str | None = None  #: what gave a machine away
    proxy: str | None = None  #: fetches in a reader's name, at the moment when the mail is shown


#: the word in a User-Agent, and what it stands for
_AGENTS = (
    (r"barracuda", "Barracuda"),
    (r"mimecast", "Mimecast"),
    (r"proofpoint|urldefense", "Proofpoint"),
    (r"safelinks|microsoft defender|office365-?atp|ms-?atp", "Microsoft Safe Links"),
    (r"microsoft office (?:existence|protocol) discovery|ms-office", "Microsoft Office"),
    (r"ironport|cisco|talos", "Cisco"),
    (r"symantec|messagelabs|norton", "Symantec"),
    (r"trend ?micro", "Trend Micro"),
    (
        r"sophos|forcepoint|fireeye|trellix|paloalto|zscaler|cloudmark|vade ?secure|hornet|avanan|checkpoint",
        "mail filter",
    ),
    (r"virustotal|urlscan|netcraft|phishtank|google-?safety|safebrowsing", "phishing scanner"),
    (
        r"skypeuripreview|slackbot|slack-imgproxy|whatsapp|telegrambot|discordbot|facebookexternalhit|twitterbot",
        "preview",
    ),
    (r"linkedinbot|pinterestbot|embedly|iframely|bingpreview|google-read-aloud|feedfetcher", "preview"),
    (r"(?<!cu)bot\b|crawler|spider|archiver|\bpreview|prefetch|headless|phantomjs|monitor", "crawler"),
    (
        r"python-|curl/|wget/|go-http-client|libwww|aiohttp|httpx|axios|node-fetch|scrapy|apache-httpclient",
        "program",
    ),
)
_NAMED = re.compile("|".join(f"(?P<r{n}>{pattern})" for n, (pattern, _) in enumerate(_AGENTS)), re.IGNORECASE)
_PROXIES = (
    (re.compile("googleimageproxy|ggpht", re.IGNORECASE), "Gmail"),
    (re.compile("yahoomailproxy", re.IGNORECASE), "Yahoo"),
)
#: all that Apple's proxies say; they fetch every image soon after delivery, whether or not the mail is ever shown
_APPLE = "mozilla/5.0"
_PURPOSES = ("sec-purpose", "purpose", "x-purpose", "x-moz")


def visitor(method: str, headers: Mapping[str, str], *, image: bool) -> Visitor:
    """Who asks, for the pixel (`image`) or a link. Names of `headers` in lower case."""
    if method != "GET":
        return Visitor(machine=True, rule="not GET")
    for name in _PURPOSES:
        if re.search("prefetch|preview|prerender", headers.get(name, ""), re.IGNORECASE):
            return Visitor(machine=True, rule="prefetch")
    agent = headers.get("user-agent", "").strip()
    if not agent:
        return Visitor(machine=True, rule="no User-Agent")
    if image:
        for pattern, proxy in _PROXIES:
            if pattern.search(agent):
                return Visitor(machine=False, proxy=proxy)
        if agent.lower() == _APPLE:
            return Visitor(machine=True, rule="Apple Mail Privacy Protection")
    found = _NAMED.search(agent)
    if found is not None and found.lastgroup is not None:
        return Visitor(machine=True, rule=_AGENTS[int(found.lastgroup[1:])][1])
    return Visitor(machine=False)
