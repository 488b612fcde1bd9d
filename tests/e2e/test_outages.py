"""What waits keeps its promises while routers die, and while Redis and Temporal are away."""

import asyncio
import json
import signal
import urllib.request

import pytest
from letters import GATHERED, HELD, LIMITED
from waiting import until

KINDS = {HELD: "held", GATHERED: "gathered", LIMITED: "limited"}


class Sent:
    """The numbers of the letters that were sent, by the definition that they wait for."""

    def __init__(self, letters):
        self._letters = letters
        self.numbers = {definition_id: [] for definition_id in KINDS}

    def send(self, each):
        """Send so many to each definition, of three persons each, in turns."""
        people = [f"{kind}-{n % 3}" for n in range(each) for kind in KINDS.values()]
        sent = self._letters.send(*people)
        for number, definition_id in enumerate(list(KINDS) * each):
            self.numbers[definition_id].append(sent[number])

    async def are_in_runs(self):
        for definition_id, numbers in self.numbers.items():
            await self._letters.are_in_runs(definition_id, numbers)

    async def kept_their_order(self):
        """Say that letters to one person were started in the order in which they were sent."""
        for definition_id in KINDS:
            runs = await self._letters.by_their_starts(definition_id)
            started = [number for run in runs for number in run.numbers]
            for person in {self._letters.sent_to[number] for number in started}:
                of_one = [n for n in started if self._letters.sent_to[n] == person]
                assert of_one == sorted(of_one), person

    async def never_two_at_a_time(self):
        """Say that of each person's limited letters one run was open at a time."""
        last = {}
        for run in await self._letters.by_their_starts(LIMITED):
            person = self._letters.sent_to[run.numbers[0]]
            if person in last:
                assert last[person].closed_at <= run.started_at, "two runs were open at a time"
            last[person] = run


@pytest.fixture
def sent(letters):
    return Sent(letters)


def health(http):
    with urllib.request.urlopen(f"http://{http}/readyz", timeout=5) as answer:
        return json.loads(answer.read())


@pytest.mark.timeout(400)
async def test_each_letter_is_in_one_run_whichever_router_is_killed(
    letters, sent, backbone, another_router
):
    async def dies(router):
        """Send some more, until a router that dies of it has made starts and told nobody."""
        sent.send(2)
        await letters.decided()
        return router.process.poll() is not None

    second = another_router(BACKBONE_FAULTPOINT="router.before_confirm_pending:3")
    assert await until(second.is_ready, seconds=60)
    backbone("disable", HELD, "--reason", "broken")
    assert await until(letters.a_letter_is_held, seconds=30)
    # One dies while both hold, gather and start; nobody starts it again. So does the other, once.
    sent.send(20)
    assert await until(lambda: dies(second), seconds=90)
    sent.send(10)
    letters.suite.kill("router")
    third = another_router(BACKBONE_FAULTPOINT="router.before_confirm_pending:1")
    backbone("enable", HELD, "--held", "start", "--reason", "mended")
    # Both die while what was held is started.
    assert await until(lambda: dies(third), seconds=90)
    letters.suite.kill("router")
    assert (second.process.poll(), third.process.poll()) == (-signal.SIGKILL, -signal.SIGKILL)
    sent.send(5)
    await sent.are_in_runs()
    await sent.kept_their_order()
    await sent.never_two_at_a_time()
    assert max(len(run) for run in await letters.runs(GATHERED)) <= 7


@pytest.mark.timeout(400)
async def test_a_redis_that_is_stopped_and_started_costs_no_letter_and_no_limit(letters, sent):
    router = letters.suite.addresses["router"].http

    async def warned():
        told = await asyncio.to_thread(health, router)
        assert told["ready"], "it can do without"
        return "redis" in told["warnings"]

    sent.send(6)
    await letters.decided()
    assert not await warned()
    letters.suite.stop("redis")
    try:
        assert await until(warned, seconds=30)
        # What was seen before comes again, and what is new comes twice.
        sent.send(6)
        for numbers in sent.numbers.values():
            letters.send_again(*numbers)
        await letters.decided()
        await sent.are_in_runs()
    finally:
        letters.suite.start_process("redis")
    for numbers in sent.numbers.values():
        letters.send_again(*numbers)
    sent.send(6)
    await letters.decided()
    await sent.are_in_runs()
    await sent.kept_their_order()
    await sent.never_two_at_a_time()
    assert await letters.outcomes(HELD) == {("started", False): 18, ("duplicate", False): 24}

    async def quiet():
        return not await warned()

    assert await until(quiet, seconds=30)


@pytest.mark.timeout(400)
async def test_a_temporal_that_is_stopped_and_killed_costs_no_letter(letters, sent):
    sent.send(10)
    letters.suite.stop("temporal")
    try:
        # What starts at once holds its partition; what waits is taken, and due while it is away.
        numbers = letters.send(*(f"gathered-{n % 3}" for n in range(25)))
        sent.numbers[GATHERED] += numbers

        async def tried_in_vain():
            return any(one["attempts"] > 1 for one in letters.pending(GATHERED))

        assert await until(tried_in_vain, seconds=60)
        sent.send(10)
    finally:
        letters.suite.start_process("temporal")
    sent.send(10)
    letters.suite.kill("temporal")
    sent.send(10)
    await sent.are_in_runs()
    await sent.kept_their_order()
    await sent.never_two_at_a_time()
