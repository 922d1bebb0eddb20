"""Recipient lists: read, checked, and made into mail, step by step, each of which may be the last before a crash."""
