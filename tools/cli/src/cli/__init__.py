"""The `backbone` command: what people and scripts use from a shell."""
