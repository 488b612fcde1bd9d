"""What the use cases need of the database, beside the event store: a module for each concern.

Every method works in the transaction that it is given and commits nothing.
"""
