"""Runs definitions on Temporal: decides, has the tasks carried out, and tells the ledger."""
