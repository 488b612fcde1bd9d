"""What the ledger is told by its environment."""

from runtime.settings import GrpcServerSettings, PostgresSettings, ServiceSettings


class Settings(GrpcServerSettings, PostgresSettings, ServiceSettings):
    """Settings of the ledger, from `BACKBONE_*`."""
