"""What is counted, once and by name. `docs/metrics.md` is written from this page."""

from relay.observe.counts import Counter, Gauge, Histogram

ACCEPTED = Counter("pillarbox_accepted_total", "Mails stored and answered 250 or 201.", ("door", "lane"))
ACCEPTED_BYTES = Counter("pillarbox_accepted_bytes_total", "Octets of these mails.", ("door",))
REFUSED = Counter(
    "pillarbox_refused_total",
    "Commands and requests refused, by the answer's code: SMTP's enhanced one, or HTTP's.",
    ("door", "code"),
)
STORE_SECONDS = Histogram(
    "pillarbox_store_seconds", "From a whole mail in hand to its commit, signing included.", ("door",)
)
CONNECTIONS = Gauge("pillarbox_connections", "Clients connected now.", ("door",))

OUTCOMES = Counter(
    "pillarbox_outcomes_total",
    "What tries came to, by recipient: sent, deferred, bounced, ambiguous, parked, and so on.",
    ("provider", "lane", "outcome"),
)
SEND_SECONDS = Histogram(
    "pillarbox_provider_seconds", "How long a provider took to answer for a batch.", ("provider",)
)
ACCEPT_TO_SENT_SECONDS = Histogram(
    "pillarbox_accept_to_sent_seconds", "From a mail's acceptance to a provider's.", ("lane",)
)
IN_FLIGHT = Gauge("pillarbox_in_flight", "Recipients in hand at a provider now.", ("provider",))
SWITCHES = Counter(
    "pillarbox_switches_total", "Mails that went on to another provider.", ("from", "to", "why")
)
RECOVERED = Counter("pillarbox_recovered_total", "Recipients taken back from workers that vanished.")
PARKED = Counter("pillarbox_parked_total", "Recipients taken out of the queue for a human.")
STALE = Counter(
    "pillarbox_stale_results_total", "Results that came after their claim had been given to another."
)
WAKE_UPS_LOST = Counter(
    "pillarbox_wake_ups_lost_total",
    "Mails whose wake-up the queue server did not take; the clock finds them.",
)
FAULTS = Counter("pillarbox_faults_total", "Things that should not happen, by where they did.", ("where",))

# Read from the record when asked, by the API.
OLDEST_SECONDS = Gauge(
    "pillarbox_queue_oldest_seconds",
    "Since when the mail of a lane is tried that has waited longest: its acceptance, or the time it was to wait for.",
    ("lane",),
)
OVERDUE_SECONDS = Gauge(
    "pillarbox_queue_overdue_seconds",
    "For how long the mail of a lane that is due has been due at most.",
    ("lane",),
)
WAITING = Gauge(
    "pillarbox_queue_recipients", "Recipients in the queue, counted up to 100,000 of each.", ("lane", "state")
)
CIRCUIT = Gauge("pillarbox_circuit_open", "1 while a provider's circuit is open.", ("provider",))
PAUSED = Gauge(
    "pillarbox_provider_paused", "1 while an operator has a provider paused or draining.", ("provider",)
)
WORKERS = Gauge("pillarbox_workers", "Workers that were alive in the last seconds.")
INBOX_OLDEST_SECONDS = Gauge(
    "pillarbox_inbox_oldest_seconds",
    "For how long the oldest unread webhook or bounce mail has been waiting.",
)
NOTICES_OLDEST_SECONDS = Gauge(
    "pillarbox_notices_oldest_seconds",
    "For how long the oldest customer webhook that is due has been waiting.",
)
EVENTS = Counter("pillarbox_events_total", "Reports recorded, by who told them.", ("source", "kind"))
NOTICES = Counter(
    "pillarbox_notices_total",
    "Calls of customers' webhooks: delivered, no answer, or refused by the class of the answer.",
    ("outcome",),
)
