"""Signatures of events: Ed25519 over the bytes of a record, whom it is for and when it was signed.

Pure but for `keyfiles`: times are arguments, and keys are values.
"""
