import pytest
from temporalio.exceptions import ApplicationError

from orchestrator_worker import errors
from orchestrator_worker.activities.outcomes import told_to_temporal


@pytest.mark.parametrize(
    ("error", "kind", "final"),
    [
        (errors.DefinitionNotFoundError("x"), "DefinitionNotFound", True),
        (errors.UndecidableError("x"), "Undecidable", True),
        (errors.ConnectorError("x"), "Connector", True),
        (errors.StatementError("x"), "Statement", True),
        (errors.DecisionTooLargeError("x"), "DecisionTooLarge", True),
        (errors.RefusedError("x"), "Refused", True),
        (errors.NeighbourUnavailableError("x"), "NeighbourUnavailable", False),
        (errors.ContextUnavailableError("x"), "ContextUnavailable", False),
    ],
)
def test_errors_say_whether_to_try_again(error: Exception, kind: str, *, final: bool) -> None:
    with pytest.raises(ApplicationError) as caught, told_to_temporal():
        raise error
    assert caught.value.type == kind
    assert caught.value.non_retryable is final


def test_what_nobody_foresaw_is_tried_again() -> None:
    with pytest.raises(KeyError), told_to_temporal():
        raise KeyError("a bug")
