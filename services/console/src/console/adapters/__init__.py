"""The edges: HTTP towards visitors, gRPC towards the services."""
