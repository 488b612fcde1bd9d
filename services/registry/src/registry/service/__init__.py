"""The use cases: definitions, the news of their changes, and what follows from them elsewhere."""
