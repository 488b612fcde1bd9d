"""Whether a definition can be started by hand, and by which of its manual triggers."""

from pydantic import JsonValue

from router.domain.routing import Active
from router.errors import DefinitionDisabledError, RequestInvalidError
from rules import jsonschemas


def triggers(definition: Active, value: JsonValue) -> list[str]:
    """Return the names of the manual triggers that take the input `value`.

    A definition without manual triggers takes any input, and then there is no name.

    Raises:
        DefinitionDisabledError: it starts nothing.
        RequestInvalidError: it is stateful, or has manual triggers and none takes the input.
    """
    if definition.disabled:
        raise DefinitionDisabledError(
            f"definition {definition.definition_id!r} is disabled; enable it to start it"
        )
    if definition.correlation is not None:
        raise RequestInvalidError(
            f"definition {definition.definition_id!r} is stateful: it takes events only, which say "
            "whose instance they are; publish one"
        )
    problems = {
        name: [] if manual.input is None else jsonschemas.validate(manual.input, value)
        for name, manual in definition.manual.items()
    }
    taking = [name for name, wrong in problems.items() if not wrong]
    if problems and not taking:
        told = "; ".join(f"{name}: {', '.join(wrong)}" for name, wrong in problems.items())
        raise RequestInvalidError(f"no manual trigger takes this input: {told}")
    return taking
