"""What is sent again, when, and what a failure looks like in the end."""

import io
from functools import partial
from typing import Any

import httpx2
import pytest
from tests.support.scripted_api import (
    FILE_ID,
    PROCESS_ID,
    Answer,
    AnyClient,
    ScriptedApi,
    file_json,
    ok,
    pauses,
    problem,
    process_json,
)

from treadle.sdk import (
    AuthenticationError,
    BadRequestError,
    ConflictError,
    ConnectionFailedError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitedError,
    ServerError,
    TooLargeError,
    TreadleApiError,
    UnexpectedAnswerError,
)

pytestmark = pytest.mark.anyio

REFUSED = httpx2.ConnectError("Connection refused")
BROKEN = httpx2.ReadError("Connection reset by peer")


def get(sdk: AnyClient) -> Any:
    return sdk.client.processes.get(PROCESS_ID)


def start(sdk: AnyClient) -> Any:
    return sdk.client.processes.start(git_url="u", branch_source="m", branch_work="w", steps=["s"])


@pytest.mark.parametrize(
    "failure",
    [
        REFUSED,
        BROKEN,
        httpx2.ReadTimeout("slow"),
        partial(problem, 502),
        partial(problem, 503),
        partial(problem, 504),
    ],
)
async def test_a_passing_failure_is_tried_again(sdk: AnyClient, api: ScriptedApi, failure: Answer) -> None:
    api.answers += [failure, failure, ok(process_json())]
    assert (await sdk.result(get(sdk))).status == "Running"
    assert pauses(api) == [0.5, 1.0]


async def test_a_start_is_repeated_under_the_same_key(sdk: AnyClient, api: ScriptedApi) -> None:
    api.answers += [BROKEN, problem(503), ok(process_json())]
    await sdk.result(start(sdk))
    assert len({request.headers["idempotency-key"] for request in api.requests}) == 1
    assert len({request.content for request in api.requests}) == 1
    assert len(api.requests) == 3


async def test_an_upload_is_repeated_only_when_it_cannot_have_arrived(sdk: AnyClient, api: ScriptedApi) -> None:
    file = io.BytesIO(b"0123456789")
    file.seek(5)
    api.answers += [REFUSED, problem(429), ok(file_json())]
    await sdk.result(sdk.client.files.upload(file))
    assert all(b"\r\n56789\r\n" in request.content for request in api.requests)  # from where it was, each time
    for failure, error in ((BROKEN, ConnectionFailedError), (problem(503), ServerError)):
        api.answers.append(failure)
        with pytest.raises(error):
            await sdk.result(sdk.client.files.upload(b"x"))
    assert api.answers == []


class Pipe(io.RawIOBase):
    """Gives its bytes once."""

    def __init__(self, content: bytes) -> None:
        self._rest = io.BytesIO(content)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return self._rest.read(size)


async def test_a_pipe_is_sent_whole_each_time(sdk: AnyClient, api: ScriptedApi) -> None:
    api.answers += [REFUSED, ok(file_json())]
    await sdk.result(sdk.client.files.upload(Pipe(b"once"), name="p"))
    assert all(b"\r\nonce\r\n" in request.content for request in api.requests)


async def test_the_attempts_have_an_end_and_double_their_pauses(api: ScriptedApi) -> None:
    sdk = AnyClient(api, "sync", retries=6)
    api.answers, api.repeats_last = [REFUSED], True
    with pytest.raises(ConnectionFailedError) as caught:
        await sdk.result(get(sdk))
    assert pauses(api) == [0.5, 1, 2, 4, 8, 8]
    assert caught.value.attempts == len(api.requests) == 7
    assert "http://treadle.test" in str(caught.value)
    assert "treadle serve" in str(caught.value)


async def test_no_retries_means_one_attempt(api: ScriptedApi) -> None:
    sdk = AnyClient(api, "sync", retries=0)
    api.answers += [REFUSED]
    with pytest.raises(ConnectionFailedError):
        await sdk.result(get(sdk))
    assert api.sleeps == []


async def test_the_pause_is_spread(api: ScriptedApi) -> None:
    sdk = AnyClient(api, "sync", random=lambda: 0.0)
    api.answers += [REFUSED, ok(process_json())]
    await sdk.result(get(sdk))
    assert pauses(api) == [0.25]


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7),
        ({"Retry-After": "Fri, 02 Jan 2026 00:00:09 GMT", "Date": "Fri, 02 Jan 2026 00:00:00 GMT"}, 9),
        ({"Retry-After": "Fri, 02 Jan 2026 00:00:00 GMT", "Date": "Fri, 02 Jan 2026 00:00:09 GMT"}, 0),
        ({"Retry-After": "soon"}, 0),
        ({}, 0),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
async def test_the_server_may_ask_for_a_pause(
    sdk: AnyClient, api: ScriptedApi, headers: dict[str, str], seconds: float, status: int
) -> None:
    api.answers += [problem(status, headers=headers), ok(process_json())]
    await sdk.result(get(sdk))
    assert pauses(api) == [seconds + 0.5]


async def test_a_pause_too_long_is_left_to_the_caller(sdk: AnyClient, api: ScriptedApi) -> None:
    api.answers.append(problem(429, headers={"Retry-After": "3600"}))
    with pytest.raises(RateLimitedError) as caught:
        await sdk.result(get(sdk))
    assert caught.value.retry_after == 3600
    assert api.sleeps == []


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, BadRequestError),
        (401, AuthenticationError),
        (403, PermissionDeniedError),
        (404, NotFoundError),
        (409, ConflictError),
        (413, TooLargeError),
        (422, BadRequestError),
        (500, ServerError),
        (418, TreadleApiError),
    ],
)
async def test_each_status_has_its_error_and_is_not_tried_again(
    sdk: AnyClient, api: ScriptedApi, status: int, kind: type[TreadleApiError]
) -> None:
    api.answers.append(problem(status, detail="Said by the server."))
    with pytest.raises(TreadleApiError, match="Said by the server") as caught:
        await sdk.result(get(sdk))
    assert type(caught.value) is kind
    assert caught.value.status == status
    assert caught.value.problem["title"] == "A title"
    assert api.sleeps == []


async def test_every_fault_of_a_bad_request_is_named(sdk: AnyClient, api: ScriptedApi) -> None:
    errors = {"steps[0].step": ["Must not be blank."], "gitUrl": ["Too long.", "No such scheme."]}
    api.answers.append(problem(400, detail="The request is not valid.", errors=errors))
    with pytest.raises(BadRequestError) as caught:
        await sdk.result(start(sdk))
    assert caught.value.errors == errors
    for said in ("The request is not valid.", "steps[0].step: Must not be blank.", "gitUrl: Too long. No such scheme."):
        assert said in str(caught.value)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[1]", b'{"errors": 3, "detail": 4}'])
async def test_an_error_without_a_problem_still_says_something(sdk: AnyClient, api: ScriptedApi, body: bytes) -> None:
    api.answers.append(httpx2.Response(400, content=body))
    with pytest.raises(BadRequestError, match="The request is not valid") as caught:
        await sdk.result(get(sdk))
    assert caught.value.errors == {}


async def test_a_missing_key_is_what_a_401_is_about(api: ScriptedApi) -> None:
    for key, said in ((None, "None was sent"), ("wrong", "the right one")):
        sdk = AnyClient(api, "sync", api_key=key)
        api.answers.append(problem(401))
        with pytest.raises(AuthenticationError, match=said):
            await sdk.result(get(sdk))


async def test_a_redirect_is_shown_and_not_followed(sdk: AnyClient, api: ScriptedApi) -> None:
    api.answers.append(httpx2.Response(301, headers={"Location": "https://elsewhere.test/"}))
    with pytest.raises(UnexpectedAnswerError, match=r"https://elsewhere\.test/"):
        await sdk.result(start(sdk))


async def test_a_kill_whose_answer_got_lost_has_killed(sdk: AnyClient, api: ScriptedApi) -> None:
    api.answers += [BROKEN, problem(409), ok(process_json("Killed"))]
    await sdk.result(sdk.client.processes.kill(PROCESS_ID))
    assert api.answers == []


async def test_a_process_that_ended_by_itself_was_not_killed(sdk: AnyClient, api: ScriptedApi) -> None:
    api.answers += [BROKEN, problem(409, detail="It has ended."), ok(process_json("Success"))]
    with pytest.raises(ConflictError, match="It has ended"):
        await sdk.result(sdk.client.processes.kill(PROCESS_ID))
    api.answers += [problem(409)]
    with pytest.raises(ConflictError):
        await sdk.result(sdk.client.processes.kill(PROCESS_ID))


async def test_a_deletion_whose_answer_got_lost_has_deleted(sdk: AnyClient, api: ScriptedApi) -> None:
    api.answers += [BROKEN, problem(404)]
    await sdk.result(sdk.client.files.delete(FILE_ID))
    api.answers += [problem(404)]
    with pytest.raises(NotFoundError):
        await sdk.result(sdk.client.files.delete(FILE_ID))


async def test_what_cannot_ever_work_is_not_tried_again(sdk: AnyClient, api: ScriptedApi) -> None:
    api.answers.append(httpx2.UnsupportedProtocol("no such protocol"))
    with pytest.raises(ConnectionFailedError):
        await sdk.result(get(sdk))
    api.answers.append(httpx2.DecodingError("bad gzip"))
    with pytest.raises(UnexpectedAnswerError):
        await sdk.result(get(sdk))
    assert api.sleeps == []
