"""A producer that is of no more use, or whose certificate was replaced, is made anew."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest

from runtime import reloading
from runtime.authority import Authority, Request
from runtime.kafka import CertificateInUse, KafkaDeliveryError, KafkaProducer, SecureBrokers
from runtime.kafkarenewal import RenewedProducer
from runtime.tls import TlsFiles

NOBODY = "127.0.0.1:1"


async def test_a_producer_that_gets_no_acknowledgement_in_time_is_made_anew() -> None:
    made: list[KafkaProducer] = []

    def make() -> KafkaProducer:
        made.append(KafkaProducer(NOBODY, client_id="test", delivery_timeout_s=0.3))
        return made[-1]

    renewed = RenewedProducer(make, purpose="test")
    for times in (1, 2):
        with pytest.raises(KafkaDeliveryError, match="timed out"):
            await renewed.send("topic", key=None, value=b"value", headers=())
        assert len(made) == times
    await renewed.close()


class Outdated:
    """A producer whose certificate is replaced when a test says so; what it sends is in `log`.

    One that is not `prompt` sends when it is closed.
    """

    def __init__(self, name: str, log: list[str], *, prompt: bool) -> None:
        self.is_outdated = False
        self._name = name
        self._log = log
        self._prompt = prompt
        self._under_way: list[asyncio.Future[None]] = []

    def send(self, topic: str, **record: object) -> "asyncio.Future[None]":
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._log.append(f"{self._name} takes {topic}")
        if self._prompt:
            done.set_result(None)
        else:
            self._under_way.append(done)
        return done

    async def close(self) -> None:
        await asyncio.sleep(0)  # others have their turn
        for one in self._under_way:
            self._log.append(f"{self._name} has sent")
            one.set_result(None)


async def test_what_a_producer_was_given_is_sent_before_the_one_after_it_is_given_anything() -> (
    None
):
    log: list[str] = []
    made: list[Outdated] = []

    def make() -> Outdated:
        made.append(Outdated(f"producer {len(made) + 1}", log, prompt=bool(made)))
        return made[-1]

    renewed = RenewedProducer(make, purpose="test")  # type: ignore[arg-type]

    def sending(topic: str) -> "asyncio.Task[None]":
        return asyncio.create_task(renewed.send(topic, key=None, value=b"", headers=()))

    first = sending("a")
    await asyncio.sleep(0)
    made[0].is_outdated = True
    later = [sending("b"), sending("c")]
    await asyncio.gather(first, *later)
    assert log == [
        "producer 1 takes a",
        "producer 1 has sent",
        "producer 2 takes b",
        "producer 2 takes c",
    ]


def test_a_certificate_is_replaced_when_its_files_have_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reloading, "_LOOK_S", 0.0)
    now = datetime.now(UTC)
    ours = Authority.create(tmp_path, now=now)
    issued = ours.issue(Request(name="router"), now=now)
    files = TlsFiles(issued.certificate, issued.private_key, ours.certificate)
    used = CertificateInUse(SecureBrokers(NOBODY, files))
    assert not used.is_replaced
    ours.issue(Request(name="router"), now=now)
    assert used.is_replaced
    assert not CertificateInUse(SecureBrokers(NOBODY, files)).is_replaced
    assert not CertificateInUse(NOBODY).is_replaced
