"""Whether two sets of documents have none in common: what makes alternatives exclude each other."""

from contracts.comparison.documents import Documents
from contracts.comparison.kinds import Kind
from contracts.comparison.sources import Budget


def disjoint(one: Documents, other: Documents, budget: Budget, depth: int) -> bool:
    """Say whether no document is of both; False when that is not known.

    Told apart by type, by value, or by a property that every document of one side has: the usual
    `kind` of tagged unions.

    Raises:
        NotComparableError: it is more work than a comparison may be.
    """
    budget.spend(depth, work=1 + len(one.parts) + len(other.parts))
    common = one.kinds & other.kinds
    if not common:
        return True
    if one.values is not None and other.values is not None:
        return not one.values.keys() & other.values.keys()
    for choosing, fixed in ((one, other), (other, one)):
        if choosing.choices:
            return all(
                disjoint(alternative, fixed, budget, depth + 1)
                for alternative in choosing.decided()
            )
    if common != {Kind.OBJECT}:
        return False
    return any(
        disjoint(
            Documents.of(one.source, *one.of_property(name)),
            Documents.of(other.source, *other.of_property(name)),
            budget,
            depth + 1,
        )
        for name in sorted((one.required | other.required) & one.declared & other.declared)
    )
