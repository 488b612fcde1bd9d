"""No secret is in the repository, and so in no image: images are made of it alone."""

import json
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from devstack.tools import auditing

ROOT = Path(__file__).parents[2]
# They guess by the look of a text and find every hash of the lock; what has a form is found by it.
GUESSES = ("Base64HighEntropyString", "HexHighEntropyString", "KeywordDetector")
MADE_UP = {
    ("libs/runtime/tests/unit/test_connectorsecrets.py", "Basic Auth Credentials"),
    ("libs/runtime/tests/unit/test_databases.py", "Basic Auth Credentials"),
    ("services/router/tests/unit/test_redis_url.py", "Basic Auth Credentials"),
    ("tools/cli/tests/unit/test_tokens.py", "JSON Web Token"),
    # A server on 127.0.0.1 that tests talk to.
    ("tests/support/tls/crm.test.pem", "Private Key"),
}
"""What looks like a secret and is one of a test."""


def found(folder, files):
    options = [word for name in GUESSES for word in ("--disable-plugin", name)]
    argv, environment = auditing.command("detect_secrets", "scan", "--no-verify", *options, *files)
    done = subprocess.run(
        argv, cwd=folder, env=environment, capture_output=True, text=True, check=True, timeout=500
    )
    results = json.loads(done.stdout)["results"]
    return {(file, secret["type"]) for file, secrets in results.items() for secret in secrets}


@pytest.mark.timeout(600)
def test_there_is_none_but_those_of_tests():
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    files = [one for one in listed.stdout.split("\0") if one and "_pb2" not in one]
    assert "services/ledger/Dockerfile" in files
    assert found(ROOT, files) <= MADE_UP
    assert not [file for file, _ in MADE_UP if "/tests/" not in f"/{file}"]


def test_one_would_be_found(tmp_path):
    key = Ed25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    (tmp_path / "service.key").write_bytes(b"key: ledger/1\n" + key)
    url = "postgresql://ledger:{}@db/backbone".format("s3cr" + "et9")
    (tmp_path / "settings.env").write_text(f"BACKBONE_POSTGRES_DSN={url}\n")
    (tmp_path / "notes.md").write_text("A password is in a file.\n")
    assert found(tmp_path, ["service.key", "settings.env", "notes.md"]) == {
        ("service.key", "Private Key"),
        ("settings.env", "Basic Auth Credentials"),
    }
