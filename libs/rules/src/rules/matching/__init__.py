"""One index over many patterns: which of them match a document, without asking each of them.

An event costs what its own fields cost to look up, and what matches it; not the number of patterns.
`Index` is all there is to use. How it does that: `accesses` says by which values a pattern can be
found, `tables` finds by a value, `tree` keeps the patterns, and `conditions` says whether the rest
of a pattern that was found matches.
"""

from rules.matching.index import Index

__all__ = ["Index"]
