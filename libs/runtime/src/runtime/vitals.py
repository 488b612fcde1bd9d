"""What every process tells of itself: how late its event loop is, how long its certificate lasts.

A stalled loop is late with everything, health checks and heartbeats among it. It is measured by
waking again and again at a time of one's own choice: what the loop did meanwhile is how much later
it became.
"""

import asyncio
import time
from collections.abc import Iterable
from datetime import timedelta

from cryptography import x509
from opentelemetry.metrics import Observation

from contracts.telemetry import Metric
from runtime import telemetry
from runtime.lifecycle import Background
from runtime.tls import Certificates, TlsFiles

_INTERVAL = timedelta(milliseconds=250)


class Vitals(Background):
    """A component that measures the event loop it runs in, and watches the certificate of `tls`."""

    name = "vitals"

    def __init__(self, tls: TlsFiles | None, *, interval: timedelta = _INTERVAL) -> None:
        """Wake every `interval`.

        Raises:
            ConfigurationError: the files of `tls` cannot be used.
        """
        self._interval_s = interval.total_seconds()
        meter = telemetry.meter(__name__)
        self._delay = meter.create_histogram(
            Metric.EVENT_LOOP_DELAY,
            unit="s",
            description="How much later than asked for the event loop went on.",
        )
        if tls is not None:
            self._certificates = Certificates(tls)
            meter.create_observable_gauge(
                Metric.CERTIFICATE_REMAINING,
                [lambda _: self._remaining()],
                unit="s",
                description="Time until the certificate ends that new connections show.",
            )

    async def _run(self) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            due = clock() + self._interval_s
            await asyncio.sleep(self._interval_s)
            self._delay.record(max(0.0, clock() - due))

    def _remaining(self) -> Iterable[Observation]:
        chain = x509.load_pem_x509_certificates(self._certificates.newest().certificate)
        # Whichever of the chain ends first ends all of it.
        ends = min(one.not_valid_after_utc for one in chain)
        return [Observation(ends.timestamp() - time.time())]
