"""Where data is encrypted at rest, neither logs nor spans quote it."""

import json
import logging
from collections.abc import Iterator

import pytest
import structlog
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from runtime import logs, telemetry
from runtime.redaction import RedactingExporter

CANARY = "canary-4711"


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def said(capsys: pytest.CaptureFixture[str], *, confidential: bool) -> list[dict[str, str]]:
    """Log what quotes a canary in every way, and return the lines."""
    logs.setup(service="test", as_json=True, confidential=confidential)
    logger = logs.get_logger("ours")
    logger.warning("told", quoted=CANARY, detail="which one", password="p")
    try:
        try:
            raise ValueError(CANARY)
        except ValueError as exc:
            raise RuntimeError(f"{CANARY} again") from exc
    except RuntimeError:
        logger.exception("broken")
        logging.getLogger("theirs").warning("broken", exc_info=True)
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_what_quotes_data_is_masked_and_where_it_broke_is_told(
    capsys: pytest.CaptureFixture[str],
) -> None:
    told, ours, theirs = said(capsys, confidential=True)
    assert (told["quoted"], told["detail"], told["password"]) == ("***", "which one", "***")
    assert CANARY not in json.dumps([told, ours, theirs])
    for one in (ours, theirs):
        assert "builtins.RuntimeError" in one["exception"]
        assert "builtins.ValueError" in one["exception"]
        assert "test_logs.py" in one["exception"]


def test_on_a_machine_of_ones_own_all_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    told, ours, theirs = said(capsys, confidential=False)
    assert told["quoted"] == CANARY
    assert CANARY in ours["exception"]
    assert CANARY in theirs["exception"]


def test_lines_have_the_ids_of_what_is_under_way(capsys: pytest.CaptureFixture[str]) -> None:
    trace_id, span_id = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    logs.setup(service="test", as_json=True)
    logger = logs.get_logger("ours")
    with (
        telemetry.attached(f"00-{trace_id}-{span_id}-01"),
        logs.bound(event_id="e-1", run_id="r-1", task_id=None),
    ):
        logger.info("within", run_id="r-2")
        logging.getLogger("theirs").warning("within")
    logger.info("after")
    ours, theirs, after = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    ids = {"trace_id": trace_id, "span_id": span_id, "event_id": "e-1"}
    assert ours.items() >= {**ids, "run_id": "r-2"}.items()
    assert theirs.items() >= {**ids, "run_id": "r-1"}.items()
    assert "task_id" not in ours
    assert not after.keys() & {"trace_id", "span_id", "event_id", "run_id"}


def test_a_span_says_of_an_exception_only_its_type() -> None:
    kept = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(RedactingExporter(kept)))
    tracer = provider.get_tracer("test")
    with (
        pytest.raises(ValueError, match=CANARY),
        tracer.start_as_current_span("outer", attributes={"a": 1}) as outer,
        tracer.start_as_current_span("inner"),
    ):
        raise ValueError(CANARY)
    provider.shutdown()
    inner, found = kept.get_finished_spans()
    assert CANARY not in inner.to_json() + found.to_json()
    assert inner.events[0].attributes is not None
    assert inner.events[0].attributes["exception.type"] == "ValueError"
    assert (found.name, dict(found.attributes or {})) == ("outer", {"a": 1})
    assert found.context == outer.get_span_context()
    assert inner.parent == found.context
    assert not found.status.is_ok
    assert (found.start_time, found.end_time) != (None, None)
