"""The workflows: deterministic, so they do no I/O and import nothing but the contract.

Workers run them outside the SDK's sandbox, and a module is imported once for all of them: it holds
nothing that changes. The replay tests run them in the sandbox.
"""
