"""Which build of a deployment gets what begins, and whether one still holds runs, as Temporal says.

Only where builds are routed: a build that nobody has made the current one gets nothing.
"""

import asyncio
from datetime import timedelta
from enum import StrEnum

from temporalio.api.enums.v1 import WorkerDeploymentVersionStatus
from temporalio.api.workflowservice.v1 import (
    DescribeWorkerDeploymentRequest,
    SetWorkerDeploymentCurrentVersionRequest,
)
from temporalio.service import RPCError, RPCStatusCode

from orchestrator_worker.adapters.temporal_executions import Connect
from runtime.errors import RuntimeLibraryError

_TIMEOUT = timedelta(seconds=10)
_PATIENCE_S = 60.0
_AGAIN_S = 0.5


class BuildError(RuntimeLibraryError):
    """A build cannot be made the current one, or may not be removed yet."""


class BuildStatus(StrEnum):
    """What a build gets of what begins, and what it holds."""

    UNUSED = "unused"  # it never got anything
    CURRENT = "current"
    RAMPING = "ramping"  # it gets a part
    DRAINING = "draining"  # it gets nothing, and holds runs that it began
    DRAINED = "drained"


_STATUS = {
    WorkerDeploymentVersionStatus.WORKER_DEPLOYMENT_VERSION_STATUS_INACTIVE: BuildStatus.UNUSED,
    WorkerDeploymentVersionStatus.WORKER_DEPLOYMENT_VERSION_STATUS_CREATED: BuildStatus.UNUSED,
    WorkerDeploymentVersionStatus.WORKER_DEPLOYMENT_VERSION_STATUS_CURRENT: BuildStatus.CURRENT,
    WorkerDeploymentVersionStatus.WORKER_DEPLOYMENT_VERSION_STATUS_RAMPING: BuildStatus.RAMPING,
    WorkerDeploymentVersionStatus.WORKER_DEPLOYMENT_VERSION_STATUS_DRAINING: BuildStatus.DRAINING,
    WorkerDeploymentVersionStatus.WORKER_DEPLOYMENT_VERSION_STATUS_DRAINED: BuildStatus.DRAINED,
}


class TemporalBuild:
    """One build of a deployment, in one namespace."""

    def __init__(
        self, namespace: str, *, connect: Connect, deployment_name: str, build_id: str
    ) -> None:
        self.namespace = namespace
        self._connect = connect
        self._deployment_name = deployment_name
        self._build_id = build_id

    async def promote(self, *, patience: float = _PATIENCE_S) -> str | None:
        """Have what begins given to this build; return which one had it before, if any.

        Temporal knows a build by its workers, and refuses one that does not serve every task queue
        of the current one: both may be a matter of `patience`, in seconds.

        Raises:
            BuildError: Temporal refuses it, or has not come to know it.
            TemporalUnavailableError: Temporal does not answer.
        """
        client = await self._connect()
        request = SetWorkerDeploymentCurrentVersionRequest(
            namespace=self.namespace,
            deployment_name=self._deployment_name,
            build_id=self._build_id,
            identity=client.identity,
        )
        ends = asyncio.get_running_loop().time() + patience
        while True:
            try:
                done = await client.workflow_service.set_worker_deployment_current_version(
                    request, timeout=_TIMEOUT
                )
            except RPCError as exc:
                if asyncio.get_running_loop().time() + _AGAIN_S >= ends:
                    raise BuildError(
                        f"{self} cannot be made the current build: {exc.message}; its workers have "
                        "to serve every task queue of the current one"
                    ) from exc
                await asyncio.sleep(_AGAIN_S)
            else:
                return done.previous_deployment_version.build_id or None

    async def status(self) -> BuildStatus:
        """Return what Temporal says of this build.

        A build is found drained some minutes after its last run has ended: Temporal looks from time
        to time.

        Raises:
            BuildError: Temporal does not know it, or does not answer this.
            TemporalUnavailableError: Temporal does not answer.
        """
        client = await self._connect()
        request = DescribeWorkerDeploymentRequest(
            namespace=self.namespace, deployment_name=self._deployment_name
        )
        try:
            described = await client.workflow_service.describe_worker_deployment(
                request, timeout=_TIMEOUT
            )
        except RPCError as exc:
            if exc.status is not RPCStatusCode.NOT_FOUND:
                raise BuildError(f"Temporal does not tell of {self}: {exc.message}") from exc
            versions = []
        else:
            versions = list(described.worker_deployment_info.version_summaries)
        for version in versions:
            if version.deployment_version.build_id == self._build_id:
                if (known := _STATUS.get(version.status)) is not None:
                    return known
                raise BuildError(f"Temporal says of {self} what this release does not know")
        # Nothing is pinned to it then; but a name that is misspelt looks just the same.
        raise BuildError(
            f"Temporal does not know {self}; see BACKBONE_DEPLOYMENT_NAME and BACKBONE_BUILD_ID"
        )

    def __str__(self) -> str:
        return f"{self._deployment_name} {self._build_id} in {self.namespace}"
