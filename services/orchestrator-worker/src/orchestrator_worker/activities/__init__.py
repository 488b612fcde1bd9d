"""The Temporal activities of our own: each calls one use case and says whether to try again."""
