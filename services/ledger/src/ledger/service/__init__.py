"""The use cases of the ledger; each is a transaction."""
