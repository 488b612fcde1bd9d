"""The edges: one module for each technology."""
