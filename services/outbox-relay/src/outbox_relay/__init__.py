"""Publishes the outboxes of other services to Kafka: at least once, in order per stream."""
