"""Webhooks to customers: endpoints, and telling them. Payloads are written by `relay.store.outbox`."""
