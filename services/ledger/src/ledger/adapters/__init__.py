"""The edges of the ledger: PostgreSQL, gRPC, JSON Schema."""
