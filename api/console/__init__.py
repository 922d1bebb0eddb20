"""The operators' console: pages at `/console` for people, made of the same calls that programs have.

Nothing here reaches into the record but for sessions: every page asks the API of this very process as the key that is
signed in, so whatever can be done here can be done by a call, and is refused and written down as one.
"""
