"""The log of an agent run, read while it grows: no entry twice, none missing."""

from collections.abc import Callable
from functools import partial
from typing import Any

import httpx2
import pytest
from tests.support.agent_api import ENDED, ORGANIZATION, RUN_ID, GrowingLog, log_json, run_json
from tests.support.scripted_api import AnyClient, ok, pauses

from treadle.sdk import AgentLogType, RateLimitedError

pytestmark = pytest.mark.anyio

LOGS = f"/v1/alpha/organizations/{ORGANIZATION}/agent/run/{RUN_ID}/logs"


@pytest.fixture
def api() -> GrowingLog:
    return GrowingLog()


async def numbers(sdk: AnyClient, **parameters: Any) -> list[int]:
    """Each entry's thought is its number."""
    found = await sdk.collect(sdk.client.agents.logs(RUN_ID, organization=ORGANIZATION, **parameters))
    return [int(entry.thought) for entry in found]


def grows(steps: list[int], end: str = ENDED) -> Callable[[GrowingLog, int], None]:
    """By so many entries before each look; it has ended at the last one."""

    def meanwhile(log: GrowingLog, look: int) -> None:
        log.length += steps[look - 1] if look <= len(steps) else 0
        if look >= len(steps):
            log.status = end

    return meanwhile


@pytest.mark.parametrize("length", [0, 1, 99, 100, 101, 250])
@pytest.mark.parametrize("reverse", [False, True])
async def test_every_page_comes(sdk: AnyClient, api: GrowingLog, length: int, reverse: bool) -> None:
    api.length = length
    expected = list(range(1, length + 1))
    assert await numbers(sdk, reverse=reverse) == (expected[::-1] if reverse else expected)
    assert api.looks == length // 100 + 1
    assert {request.url.path for request in api.requests} == {LOGS}


@pytest.mark.parametrize("steps", [[250, 1, 1], [250, 99, 0], [250, 100, 0], [150, 350, 30, 7, 1], [101, 1]])
async def test_backwards_nothing_comes_twice_while_it_grows(sdk: AnyClient, api: GrowingLog, steps: list[int]) -> None:
    api.meanwhile = grows(steps)
    assert await numbers(sdk, reverse=True) == list(range(steps[0], 0, -1))


@pytest.mark.parametrize("steps", [[1], [100], [0, 1, 0, 3], [100, 100, 1], [30, 0, 200, 5], [0]])
async def test_followed_it_comes_whole(sdk: AnyClient, api: GrowingLog, steps: list[int]) -> None:
    api.meanwhile = grows(steps)
    assert await numbers(sdk, follow=True, poll=4) == list(range(1, sum(steps) + 1))
    assert set(pauses(api)) <= {4}


async def test_what_was_written_after_the_last_look_comes_too(sdk: AnyClient, api: GrowingLog) -> None:
    """The server may read the entries before it sees that the run has ended."""

    def meanwhile(log: GrowingLog, look: int) -> None:
        log.status = ENDED
        log.length = min(look, 2)

    api.meanwhile = meanwhile
    assert await numbers(sdk, follow=True) == [1, 2]


async def test_a_run_that_is_resumed_meanwhile_is_followed_on(sdk: AnyClient, api: GrowingLog) -> None:
    statuses = [ENDED, "PENDING", "RUNNING", ENDED, ENDED]

    def meanwhile(log: GrowingLog, look: int) -> None:
        log.status, log.length = statuses[look - 1], look

    api.meanwhile = meanwhile
    assert await numbers(sdk, follow=True) == [1, 2, 3, 4, 5]


async def test_the_first_entries_can_be_left_out(sdk: AnyClient, api: GrowingLog) -> None:
    api.length, api.status = 120, ENDED
    assert await numbers(sdk, skip=118) == [119, 120]
    assert await numbers(sdk, skip=118, follow=True) == [119, 120]
    assert await numbers(sdk, skip=118, reverse=True) == [2, 1]


async def test_following_gives_way_to_others_with_the_same_key(sdk: AnyClient, api: GrowingLog) -> None:
    api.length, api.status = 1, ENDED
    slow = partial(httpx2.Response, 429, headers={"Retry-After": "5"}, json={"message": "Slow."})
    api.answers += [slow] * 9
    assert await numbers(sdk, follow=True) == [1]
    api.answers += [slow] * 9
    with pytest.raises(RateLimitedError):
        await numbers(sdk)


async def test_a_poll_is_far_from_the_services_limit(sdk: AnyClient, api: GrowingLog) -> None:
    """60 requests for logs in 60 seconds."""
    api.meanwhile = grows([1] * 20)
    await numbers(sdk, follow=True)
    assert len(api.requests) / max(api.now, 1) <= 0.6


async def test_its_length_is_known_at_once(sdk: AnyClient, api: GrowingLog) -> None:
    api.length = 321
    assert await sdk.result(sdk.client.agents.log_count(RUN_ID, organization=ORGANIZATION)) == 321
    assert api.only.url.params["limit"] == "1"


async def test_following_backwards_makes_no_sense(sdk: AnyClient) -> None:
    with pytest.raises(ValueError, match="reverse"):
        sdk.client.agents.logs(RUN_ID, follow=True, reverse=True)


async def test_every_field_of_an_entry_is_read(sdk: AnyClient, api: GrowingLog) -> None:
    action = log_json(
        1,
        message_type="ACTION",
        thought=None,
        tool_name="Bash",
        tool_input={"command": "ls"},
        tool_output={"output": "a"},
        observation={"status": "success"},
    )
    odd = log_json(2, message_type="PONDERING", observation="Hm.", created_at=None)
    api.answers.append(ok({**run_json(), "logs": [action, odd], "total_logs": 2}))
    first, second = await sdk.collect(sdk.client.agents.logs(RUN_ID, organization=ORGANIZATION))
    assert (first.type, first.tool_name, first.run_id) == (AgentLogType.ACTION, "Bash", RUN_ID)
    assert (first.tool_input, first.tool_output) == ({"command": "ls"}, {"output": "a"})
    assert first.observation == {"status": "success"}
    assert (second.type, second.observation, second.date) == ("PONDERING", "Hm.", None)
    assert second.raw == odd
