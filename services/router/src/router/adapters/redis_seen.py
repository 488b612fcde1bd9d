"""A memory of settled events in Redis. It saves work and decides nothing.

Every call has 50 ms. A Redis that fails is a memory that forgets: it is left alone for some
seconds, so that a dead one costs 50 ms now and then and not on every batch. What is remembered in
one turn of the event loop goes out as one command.
"""

import asyncio
import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from redis.asyncio import Redis, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.credentials import CredentialProvider
from redis.exceptions import AuthenticationError, RedisError

from contracts import identifiers
from router.errors import TransientError
from router.ports import Seen
from runtime import logs
from runtime.errors import ConfigurationError, SecretUnreadableError
from runtime.faultpoints import faultpoint
from runtime.tls import TlsFiles

CALL_BUDGET_S = 0.05
READY_BUDGET_S = 1.0
REST_S = 5.0
MAX_UNWRITTEN = 10_000
MAX_WRITTEN = 1000
"""Events of one command: nobody else is served meanwhile."""

_REMEMBER = """
for i = 1, #KEYS do
    redis.call('SET', KEYS[i], ARGV[i + 1], 'PX', ARGV[1])
end
"""  # A command for each of them would cost the client ten times as much.

_log = logs.get_logger(__name__)


class _NewestCertificate(SSLConnection):
    """A connection that reads the certificates when it connects, and not once for all."""

    def _connection_arguments(self) -> Mapping[str, Any]:
        self.ssl_context.context = None
        return super()._connection_arguments()


class _PasswordFile(CredentialProvider):
    """Asks for the password of `user` when a connection is made."""

    def __init__(self, user: str, password: Callable[[], str]) -> None:
        self._user = user
        self._password = password

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        try:
            password = self._password()
        except SecretUnreadableError as exc:
            # To whoever asks it is a Redis that does not answer.
            raise AuthenticationError(str(exc)) from exc
        return (self._user, password) if self._user else (password,)

    async def get_credentials_async(self) -> tuple[str] | tuple[str, str]:
        return self.get_credentials()


def _credentials(
    url: str, password: Callable[[], str] | None, tls: TlsFiles | None
) -> tuple[str, dict[str, Any]]:
    parts = urlsplit(url)
    if tls is not None and parts.password:
        raise ConfigurationError(
            "BACKBONE_REDIS_URL holds a password: where there are certificates it is in a file of "
            "its own, which BACKBONE_REDIS_PASSWORD_FILE names"
        )
    if password is None:
        return url, {}
    # The client takes a user from one of the two only.
    bare = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    provider = _PasswordFile(unquote(parts.username or ""), password)
    return bare, {"credential_provider": provider}


def _certificates(url: str, tls: TlsFiles | None) -> dict[str, Any]:
    if tls is None:
        return {}
    if not url.startswith("rediss://"):
        raise ConfigurationError(
            "BACKBONE_REDIS_URL has to begin with rediss:// where there are certificates"
        )
    return {
        "ssl_certfile": str(tls.certificate),
        "ssl_keyfile": str(tls.private_key),
        "ssl_ca_certs": str(tls.client_ca),
    }


class RedisSeenEvents:
    """Remembers the digest of each settled event for some time."""

    def __init__(
        self,
        url: str,
        *,
        keep: timedelta,
        on_miss: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
        tls: TlsFiles | None = None,
        password: Callable[[], str] | None = None,
    ) -> None:
        """Use the Redis at `url`; `on_miss` is called for each command that it did not answer.

        Each connection asks for its `password`, instead of what the URL says.

        Raises:
            ConfigurationError: with `tls` the URL has to say `rediss`, and no password.
        """
        bare, credentials = _credentials(url, password, tls)
        self._redis = Redis.from_url(
            bare,
            **credentials,
            socket_timeout=CALL_BUDGET_S,
            # Over TLS it takes longer to connect than a call may last: `ready` does it, which has
            # the time, and calls find the connection in the pool.
            socket_connect_timeout=CALL_BUDGET_S if tls is None else READY_BUDGET_S,
            retry=Retry(NoBackoff(), 0),
            decode_responses=True,
            **_certificates(url, tls),
        )
        if tls is not None:
            self._redis.connection_pool.connection_class = _NewestCertificate
        self._keep_ms = int(keep.total_seconds() * 1000)
        self._on_miss = on_miss
        self._clock = clock
        self._resting_until = 0.0
        self._unwritten: dict[str, str] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._write_due = False

    async def recall(
        self, namespace: str, events: Sequence[tuple[str, str]]
    ) -> Sequence[Seen | None]:
        """Return what is remembered of each (source, event id); nothing without Redis."""
        keys = [_key(namespace, source, event_id) for source, event_id in events]
        found = {key: self._unwritten[key] for key in keys if key in self._unwritten}
        asked = [key for key in dict.fromkeys(keys) if key not in found]
        if asked and not self._resting():
            found.update(await self._read(asked))
        return [_seen(found.get(key)) for key in keys]

    def remember(
        self, namespace: str, source: str, event_id: str, *, digest: str, revision: int
    ) -> None:
        """Keep an event with the next command; forgotten when Redis does not take it."""
        if self._resting() or len(self._unwritten) >= MAX_UNWRITTEN:
            return
        self._unwritten[_key(namespace, source, event_id)] = f"{digest}:{revision}"
        if not self._write_due:
            self._write_due = True
            task = asyncio.get_running_loop().create_task(self._write())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def ready(self) -> None:
        """Return when Redis answers.

        Raises:
            TransientError: it does not, which costs work and nothing else.
        """
        try:
            async with asyncio.timeout(READY_BUDGET_S):
                await self._redis.get("backbone:ping")
        except (RedisError, OSError, TimeoutError) as exc:
            why = str(exc) or type(exc).__name__
            raise TransientError(f"away ({why}); routing works, repeats cost more") from exc

    async def close(self) -> None:
        """Write what is left and disconnect."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=1.0)
        await self._redis.aclose()

    async def _read(self, keys: Sequence[str]) -> dict[str, str]:
        try:
            async with asyncio.timeout(CALL_BUDGET_S):
                faultpoint("router.before_recall")
                values = await self._redis.mget(list(keys))
                faultpoint("router.after_recall")
        except (RedisError, OSError, TimeoutError) as exc:
            self._rest(exc)
            return {}
        return {
            key: str(value) for key, value in zip(keys, values, strict=True) if value is not None
        }

    async def _write(self) -> None:
        await asyncio.sleep(0)
        self._write_due = False
        batch = dict(self._unwritten)
        written = iter(batch.items())
        try:
            while part := list(itertools.islice(written, MAX_WRITTEN)):
                keys, digests = zip(*part, strict=True)
                async with asyncio.timeout(CALL_BUDGET_S):
                    faultpoint("router.before_remember")
                    await self._redis.eval(_REMEMBER, len(keys), *keys, self._keep_ms, *digests)
                    faultpoint("router.after_remember")
        except (RedisError, OSError, TimeoutError) as exc:
            self._rest(exc)
        finally:
            for key in batch:
                self._unwritten.pop(key, None)

    def _resting(self) -> bool:
        return self._clock() < self._resting_until

    def _rest(self, exc: Exception) -> None:
        self._on_miss()
        if not self._resting():
            self._resting_until = self._clock() + REST_S
            _log.warning("redis_away", error=str(exc) or type(exc).__name__, rest_s=REST_S)


def _seen(text: str | None) -> Seen | None:
    if text is None:
        return None
    digest, _, revision = text.partition(":")
    # An earlier release remembered no revision; whoever writes here may write anything.
    return Seen(digest, int(revision) if revision.isdecimal() else 0)


def _key(namespace: str, source: str, event_id: str) -> str:
    return f"backbone:{namespace}:seen:{identifiers.event_trigger_key(source, event_id)}"
