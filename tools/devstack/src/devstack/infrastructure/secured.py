"""How each server is told to speak with nobody but whom it knows: settings, and nothing started."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from devstack import issuer
from devstack.infrastructure import access, certificates
from devstack.infrastructure.certificates import StackCertificates
from devstack.state import StateFolder
from runtime.tls import TlsFiles


def postgres(state: StateFolder, certified: StackCertificates) -> dict[str, str]:
    """Return PostgreSQL's settings: TLS only, and a role by certificate only."""
    state.write_text("pg_hba.conf", "hostssl all all 127.0.0.1/32 cert map=backbone\n")
    state.write_text(
        "pg_ident.conf",
        "".join(f"backbone {name} {role}\n" for role, name in access.POSTGRES.items()),
    )
    files = certified.files(certificates.POSTGRES)
    return {
        "ssl": "on",
        "ssl_min_protocol_version": "TLSv1.2",
        "ssl_cert_file": str(files.certificate),
        "ssl_key_file": str(files.private_key),
        "ssl_ca_file": str(files.client_ca),
        "hba_file": str(state.path / "pg_hba.conf"),
        "ident_file": str(state.path / "pg_ident.conf"),
    }


def kafka(state: StateFolder, certified: StackCertificates) -> dict[str, str]:
    """Return Kafka's properties: certificates on every listener, and nothing without an ACL."""
    files = certified.files(certificates.BROKER)
    # Kafka takes key and chain from one file.
    state.write_text(
        "kafka-keystore.pem", files.private_key.read_text() + files.certificate.read_text()
    )
    return {
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(state.path / "kafka-keystore.pem"),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(files.client_ca),
        "ssl.client.auth": "required",
        "ssl.principal.mapping.rules": "RULE:^CN=([^,]+)$/$1/",
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": ";".join(f"User:{name}" for name in access.KAFKA_SUPERUSERS),
        "allow.everyone.if.no.acl.found": "false",
    }


def redis(state: StateFolder) -> tuple[str, ...]:
    """Return Redis's arguments: no port, and users who may do what they have to."""
    lines = ["user default off"]
    for user, rights in access.REDIS.items():
        digest = hashlib.sha256(redis_password(state, user).encode()).hexdigest()
        lines.append(f"user {user} on #{digest} resetchannels -@all {rights}")
    state.write_text("redis.acl", "".join(f"{line}\n" for line in lines))
    return (
        *("--port", "0", "--unixsocket", REDIS_SOCKET, "--unixsocketperm", "700"),
        *("--aclfile", str(state.path / "redis.acl")),
    )


REDIS_SOCKET = "redis.sock"
"""In Redis's folder, where its front stands too: paths of sockets may be short only."""


def redis_password(state: StateFolder, user: str) -> str:
    """Return the password of one of Redis's users."""
    return state.secret(f"redis-{user}")


def temporal(certified: StackCertificates) -> Mapping[str, object]:
    """Return the part `global.tls` of Temporal's configuration.

    The frontend takes the certificates of the stack, and asks for a token too. Its parts ask one
    another for nothing more than a certificate, so that theirs are of another authority.
    """
    return {
        "frontend": _temporal_tls(certified.files(certificates.TEMPORAL)),
        "internode": _temporal_tls(certified.between_parts()),
    }


def _temporal_tls(files: TlsFiles) -> dict[str, object]:
    return {
        "server": {
            "certFile": str(files.certificate),
            "keyFile": str(files.private_key),
            "requireClientAuth": True,
            "clientCaFiles": [str(files.client_ca)],
        },
        "client": {"serverName": "localhost", "rootCaFiles": [str(files.client_ca)]},
    }


def temporal_authorization(keys_url: str) -> Mapping[str, object]:
    """Return the part `global.authorization`: who may do what is in a token, and nobody else may.

    Temporal asks `keys_url` anew every few seconds. It looks at signature, audience and end of a
    token, not at who says to have issued it: the keys have to be of one issuer.
    """
    return {
        "authorizer": "default",
        "claimMapper": "default",
        "permissionsClaimName": "permissions",
        "audience": issuer.TEMPORAL_AUDIENCE,
        "jwtKeyProvider": {"keySourceURIs": [keys_url], "refreshInterval": "2s"},
    }


def temporal_store(files: TlsFiles) -> dict[str, object]:
    """Return how Temporal speaks with its databases."""
    return {
        "enabled": True,
        "certFile": str(files.certificate),
        "keyFile": str(files.private_key),
        "caFile": str(files.client_ca),
        "enableHostVerification": True,
        "serverName": "127.0.0.1",
    }


def temporal_sql_tool(files: TlsFiles) -> dict[str, str]:
    """Return the same for the tool that brings the schema."""
    return {
        "SQL_TLS": "true",
        "SQL_TLS_CERT_FILE": str(files.certificate),
        "SQL_TLS_KEY_FILE": str(files.private_key),
        "SQL_TLS_CA_FILE": str(files.client_ca),
        "SQL_TLS_SERVER_NAME": "127.0.0.1",
    }


def front(certified: StackCertificates, port: int) -> tuple[str, ...]:
    """Return the arguments of Redis's front."""
    files = certified.files(certificates.REDIS)
    paths: tuple[Path, ...] = (files.certificate, files.private_key, files.client_ca)
    return (str(port), REDIS_SOCKET, *(str(path) for path in paths))
