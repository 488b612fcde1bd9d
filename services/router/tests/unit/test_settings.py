"""What a router is told: the door for events is shut unless it is local or somebody opens it."""

import pytest
from pydantic import ValidationError

from router.settings import Settings
from runtime.errors import ConfigurationError

PLAIN = {
    "kafka_bootstrap_servers": "k:1",
    "temporal_address": "t:1",
    "registry_address": "r:1",
    "ledger_address": "l:1",
    "namespaces": ("dev", "prod"),
    "topics": ("dev.a", "dev.b"),
}


@pytest.mark.parametrize(
    ("environment", "said", "taken"),
    [
        *(("local", None, True), ("local", False, False), ("dev", None, False)),
        *(("prod", None, False), ("prod", True, True)),
    ],
)
def test_events_by_http_are_taken_where_it_is_local_or_asked_for(environment, said, taken):
    settings = Settings(**PLAIN, environment=environment, http_events=said)
    assert settings.takes_http_events is taken


def test_events_by_http_go_to_the_first_topic_or_to_the_one_that_is_named():
    settings = Settings(**PLAIN)
    assert (settings.http_topic_of("dev"), settings.http_topic_of("prod")) == ("dev.a", None)
    assert Settings(**PLAIN, http_topics={"dev": "dev.b"}).http_topic_of("dev") == "dev.b"


@pytest.mark.parametrize("topics", [{"dev": "dev.c"}, {"prod": "dev.a"}])
def test_a_topic_that_nobody_reads_takes_no_events_by_http(topics):
    with pytest.raises(ValidationError, match="BACKBONE_HTTP_TOPICS"):
        Settings(**PLAIN, http_topics=topics)


@pytest.mark.parametrize(
    ("environment", "said", "opened"),
    [
        ("local", None, True),
        ("prod", None, False),
        ("prod", True, True),
        ("local", False, False),
    ],
)
def test_a_namespace_without_producers_is_open_where_it_is_local_or_asked_for(
    environment, said, opened
):
    assert Settings(**PLAIN, environment=environment, open_namespaces=said).is_open is opened


def test_what_backbone_writes_is_read_only_with_the_keys_that_sign_it():
    own = ("dev.events", "dev.backbone.task-events")
    assert Settings(**{**PLAIN, "topics": own}, environment="local").trusted_keys is None
    assert Settings(**{**PLAIN, "topics": own}, environment="prod", trusted_keys="trusted.json")
    with pytest.raises(ValidationError, match=r"dev\.backbone\.task-events are Backbone's own"):
        Settings(**{**PLAIN, "topics": own}, environment="prod")


def test_the_secret_of_instances_is_in_a_file_unless_it_is_local(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("sixteen-or-more-of-them\n")
    from_file = Settings(**PLAIN, environment="prod", instance_key_secret_file=secret)
    assert from_file.key_secret == b"sixteen-or-more-of-them"
    said = {"instance_key_secret": "a-canary-in-a-variable"}
    assert Settings(**PLAIN, environment="local", **said).key_secret == b"a-canary-in-a-variable"
    with pytest.raises(ValidationError, match="BACKBONE_INSTANCE_KEY_SECRET_FILE") as caught:
        Settings(**PLAIN, environment="prod", **said)
    assert "canary" not in str(caught.value)
    with pytest.raises(ValidationError, match="exclude each other"):
        Settings(**PLAIN, environment="local", instance_key_secret_file=secret, **said)
    secret.write_text("short\n")
    with pytest.raises(ConfigurationError, match=r"secret .*holds 5 characters, fewer than 16"):
        _ = from_file.key_secret
