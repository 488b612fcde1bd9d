"""The edges: Kafka, Temporal, Redis, the registry and gRPC."""
