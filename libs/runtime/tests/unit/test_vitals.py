"""What a process tells of itself: stalls of its event loop, the end of its certificate."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from measured import Measured

from contracts.telemetry import Metric
from runtime import reloading
from runtime.authority import Authority, Issued, Request
from runtime.tls import TlsFiles
from runtime.vitals import Vitals

NOW = datetime.now(UTC)
STALL_S = 0.3


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Measured:
    return Measured(monkeypatch)


async def test_what_stops_the_event_loop_is_told(measured: Measured) -> None:
    vitals = Vitals(None, interval=timedelta(milliseconds=10))

    async def longest_is(at_least: float) -> None:
        async with asyncio.timeout(20):
            while not any(  # noqa: ASYNC110 - nobody tells of a figure
                point.max >= at_least for _, point in measured.points(Metric.EVENT_LOOP_DELAY)
            ):
                await asyncio.sleep(0.01)

    await vitals.start()
    await longest_is(0.0)
    time.sleep(STALL_S)  # noqa: ASYNC251 - the stall itself
    await longest_is(STALL_S / 2)
    await vitals.stop()


def test_the_end_of_the_newest_certificate_is_told(
    measured: Measured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reloading, "_LOOK_S", 0.0)
    authority = Authority.create(tmp_path, now=NOW)

    def issued(days: int) -> Issued:
        return authority.issue(Request(name="ledger"), now=NOW, lifetime=timedelta(days=days))

    def days_left() -> int:
        ((_, point),) = measured.points(Metric.CERTIFICATE_REMAINING)
        return round(point.value / 86_400)

    first = issued(3)
    kept = Vitals(TlsFiles(first.certificate, first.private_key, authority.certificate))
    assert days_left() == 3
    issued(9)
    assert days_left() == 9
    assert kept.name == "vitals"


def test_without_certificates_no_end_is_told(measured: Measured) -> None:
    Vitals(None)
    assert measured.points(Metric.CERTIFICATE_REMAINING) == []
