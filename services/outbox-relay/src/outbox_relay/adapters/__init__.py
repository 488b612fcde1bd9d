"""The edges: PostgreSQL and Kafka."""
