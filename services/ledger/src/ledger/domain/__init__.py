"""What the ledger decides without looking at a clock, a database or the network."""
