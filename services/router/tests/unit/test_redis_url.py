"""Where there are certificates Redis speaks TLS, and its password is in a file."""

from datetime import timedelta
from pathlib import Path

import pytest

from router.adapters.redis_seen import RedisSeenEvents
from runtime.errors import ConfigurationError
from runtime.tls import TlsFiles

FILES = TlsFiles(Path("a.crt"), Path("a.key"), Path("ca.crt"))


def test_with_certificates_the_url_has_to_say_tls():
    with pytest.raises(ConfigurationError, match="rediss://"):
        RedisSeenEvents("redis://127.0.0.1/0", keep=timedelta(days=1), tls=FILES)


def test_with_certificates_the_password_is_in_a_file():
    with pytest.raises(ConfigurationError, match="BACKBONE_REDIS_PASSWORD_FILE") as caught:
        RedisSeenEvents("rediss://router:canary@127.0.0.1/0", keep=timedelta(days=1), tls=FILES)
    assert "canary" not in str(caught.value)
