"""Text that comes from strangers, made fit for the record."""


def storable(text: str, limit: int) -> str:
    """Text as a database takes it: no control characters (PostgreSQL refuses NUL), no lone surrogates."""
    if not text.isprintable():
        text = "".join(c if c.isprintable() else " " for c in text)
    return text[:limit]
