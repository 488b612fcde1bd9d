"""The whole suite behind fault proxies, with a second replica of what may run twice.

Services reach PostgreSQL, Redis, Kafka, Temporal and each other through one proxy an edge. Who
judges them goes to the servers directly. On a secure stack every edge is TLS from end to end:
the proxies have no certificate, and see nothing.
"""

import sys
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import identity
from observing import INPUT
from proxies import Proxies

from devstack.infrastructure import SHORT_LIVED, Endpoints
from devstack.ports import Ports
from devstack.state import StateFolder
from devstack.suite import Extra, Service, Suite
from runtime import kafka
from runtime.kafka import Brokers

HANDLERS = Path(__file__).parent / "packing_worker.py"
TASK_QUEUE = "e2e-tq"

KAFKA_EDGES = ("router-kafka", "relay-kafka", "workload-kafka")
EDGES = (
    *KAFKA_EDGES,
    *("ledger-postgres", "registry-postgres", "relay-postgres"),
    "router-redis",
    *("router-temporal", "registry-temporal", "worker-temporal", "handlers-temporal"),
    *("router-registry", "worker-registry", "worker-ledger", "registry-ledger", "router-ledger"),
    "handlers-ledger",
)
REPLICAS: dict[str, Service] = {
    "router-2": "router",
    "orchestrator-worker-2": "orchestrator-worker",
    "outbox-relay-2": "outbox-relay",
}
# What nobody looks after any more is found while a trial lasts.
SWEEPING = {"BACKBONE_SWEEP_INTERVAL": "PT20S", "BACKBONE_SWEEP_MIN_AGE": "PT10S"}
_SHORT: dict[str, str] = {"orchestrator-worker": "worker", "outbox-relay": "relay"}


class Stack:
    """The suite, its proxies and its replicas, in one folder."""

    def __init__(self, folder: Path, *, secure: bool = False) -> None:
        self.secure = secure
        self.proxies = Proxies(folder / "proxies", EDGES)
        state = StateFolder(folder / "replicas")
        state.create()
        self._ports = Ports(state, print)
        self._env: dict[str, dict[str, str]] = {}
        # Environments of the replicas are made in `_prepare`, when the addresses are known.
        replicas = [
            Extra(
                name=name,
                argv=(sys.executable, "-m", service.replace("-", "_"), "serve"),
                health=f"http://{self._listen(name, 'http')}/readyz",
            )
            for name, service in REPLICAS.items()
        ]
        self._secret = folder / "instance-keys.secret"
        self.suite = Suite(
            folder / "suite",
            topics=(INPUT,),
            task_queues=(TASK_QUEUE,),
            extra=[Extra(name="handlers", argv=(sys.executable, str(HANDLERS))), *replicas],
            env=self._env,
            server_env=SHORT_LIVED,
            kafka_advertised={edge: self.proxies.addresses[edge] for edge in KAFKA_EDGES},
            # Faults are signals to processes, which a container's are not of this machine.
            provider="local",
            secure=secure,
            # A killed server loses nothing by it; only a machine without power would.
            durable=False,
            prepare=self._prepare,
        )

    def start(self) -> Self:
        """Start everything; the replicas stand still until a fault starts them."""
        try:
            self.proxies.start()
            self.suite.start()
            for name in REPLICAS:
                self.suite.stop(name)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop everything."""
        self.suite.stop()
        self.proxies.stop()
        self._ports.release()

    @property
    def workload_brokers(self) -> Brokers:
        """Kafka behind the workload's own proxy, as the developer."""
        certified = self.suite.endpoints.certificates
        files = None if certified is None else certified.member()
        return kafka.brokers(self.proxies.addresses["workload-kafka"], files)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _listen(self, name: str, what: str) -> str:
        return f"127.0.0.1:{self._ports.port(f'{name}-{what}')}"

    def _prepare(self, endpoints: Endpoints) -> None:
        addresses = self.suite.addresses
        upstream = {
            "postgres": f"{endpoints.postgres.host}:{endpoints.postgres.port}",
            "redis": _address(endpoints.redis_url),
            "temporal": endpoints.temporal_address,
            "registry": addresses["registry"].grpc or "",
            "ledger": addresses["ledger"].grpc or "",
        }
        for edge in EDGES:
            to = endpoints.kafka_listeners.get(edge) or upstream[edge.partition("-")[2]]
            self.proxies.lead(edge, to)
        for service in ("ledger", "registry", "router", "orchestrator-worker", "outbox-relay"):
            self._env[service] = self._through_proxies(service, endpoints)
        self._env["orchestrator-worker"] |= SWEEPING
        # Who judges has to know it.
        self._secret.write_bytes(identity.SECRET)
        self._env["router"]["BACKBONE_INSTANCE_KEY_SECRET_FILE"] = str(self._secret)
        self._env["handlers"] = self._through_proxies("handlers", endpoints)
        for name, service in REPLICAS.items():
            self._env[name] = {
                **self.suite.environment(service),
                "BACKBONE_HTTP_LISTEN": self._listen(name, "http"),
                "BACKBONE_GRPC_LISTEN": self._listen(name, "grpc"),
                # The address is the first one's.
                "BACKBONE_TEMPORAL_METRICS_LISTEN": "",
            }
            if self.secure:
                self._env[name]["BACKBONE_PEOPLE_LISTEN"] = self._listen(name, "people")

    def _through_proxies(self, process: str, endpoints: Endpoints) -> dict[str, str]:
        """Return the variables by which a process finds its neighbours behind their proxies."""
        short = _SHORT.get(process, process)
        edges = {edge.partition("-")[2]: edge for edge in EDGES if edge.startswith(f"{short}-")}
        found: dict[str, str] = {}
        for neighbour, edge in edges.items():
            proxy = self.proxies.addresses[edge]
            match neighbour:
                case "postgres":
                    direct = f"{endpoints.postgres.host}:{endpoints.postgres.port}"
                    own = self.suite.environment(process)
                    for name in ("BACKBONE_POSTGRES_DSN", "BACKBONE_OUTBOXES"):
                        if name in own:
                            found[name] = own[name].replace(direct, proxy)
                case "redis":
                    direct = _address(endpoints.redis_url)
                    own = self.suite.environment(process)
                    found["BACKBONE_REDIS_URL"] = own["BACKBONE_REDIS_URL"].replace(direct, proxy)
                case "kafka":
                    found["BACKBONE_KAFKA_BOOTSTRAP_SERVERS"] = proxy
                case _:
                    found[f"BACKBONE_{neighbour.upper()}_ADDRESS"] = proxy
        return found


def _address(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port}"
