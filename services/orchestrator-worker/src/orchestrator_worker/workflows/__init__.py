"""The workflows: deterministic, so they do no I/O and import nothing but the contract.

The sandbox imports these modules again for every run; what they import is passed through.
"""
