"""Pillarbox: mail in by SMTP or REST, out through whichever provider the operator configured."""

__version__ = "0.1.0"
