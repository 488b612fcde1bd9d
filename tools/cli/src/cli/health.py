"""Whether a service answers and serves: the call that asks nothing of it, and needs no role."""

from typing import Any

from grpc_health.v1 import health_pb2, health_pb2_grpc

from cli.calls import Calls


class Health(Calls[Any]):
    """The health of one service, as gRPC's protocol for it has it. Every method raises CliError."""

    # Its package has no types.
    stub = health_pb2_grpc.HealthStub

    async def serves(self) -> bool:
        """Return whether the service says that it serves."""
        answer = await self._ask(self._stub.Check(health_pb2.HealthCheckRequest()))
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
