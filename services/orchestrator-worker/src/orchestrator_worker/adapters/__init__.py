"""The edges: the ledger and the registry over gRPC, connectors, Temporal workers."""
