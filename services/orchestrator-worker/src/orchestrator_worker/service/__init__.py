"""The use cases, one module for each concern."""
