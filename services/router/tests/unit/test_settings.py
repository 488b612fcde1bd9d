"""What a router is told: the door for events is shut unless it is local or somebody opens it."""

import pytest
from pydantic import ValidationError

from router.settings import Settings

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
