"""A supervised process of the suite that dies at one fault point, once, and comes back."""

from pathlib import Path
from typing import Self

from crashpoints import CrashPoint

from devstack.suite import Suite


class Arm:
    """Arms a process with one point, to be died at once."""

    def __init__(self, suite: Suite, point: CrashPoint, marker: Path) -> None:
        self.suite, self.point, self.marker = suite, point, marker
        self.crashes = len(suite.crashes(point.process))

    def __enter__(self) -> Self:
        armed = f"{self.point.name}:1:{self.marker}"
        self.suite.restart(self.point.process, env={"BACKBONE_FAULTPOINT": armed})
        return self

    def __exit__(self, *_: object) -> None:
        if not self.marker.exists():  # It would die of it in somebody else's hands.
            self.suite.restart(self.point.process, env={"BACKBONE_FAULTPOINT": ""})

    async def died(self) -> bool:
        """Say whether it has died of it."""
        return self.marker.exists() and len(self.suite.crashes(self.point.process)) > self.crashes
