"""Streams of events in PostgreSQL that are their own outbox, and the read models made of them."""
