"""What forges say, in the words that an error repeats; the examples are of their documentation."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.domain.repository import PullRequestState
from treadle.forges.answers import MAX_REASON, Answer, last_page_of, reason, refusal, state_of, wait_of

NOW = datetime(2031, 1, 1, tzinfo=UTC)


def answer(body: object, status: int = 422, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, named, json.dumps(body).encode())


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"message": "Not Found", "documentation_url": "https://docs.github.com"}, "Not Found"),
        (
            {
                "message": "Validation Failed",
                "errors": [{"resource": "PullRequest", "code": "custom", "message": "No commits between main and x"}],
            },
            "Validation Failed; No commits between main and x",
        ),
        (
            {
                "message": "Validation Failed",
                "errors": [{"resource": "PullRequest", "field": "head", "code": "invalid"}],
            },
            "Validation Failed; head is invalid",
        ),
        (
            {"message": "Validation Failed", "errors": ["first", {"code": "missing"}]},
            "Validation Failed; first; missing",
        ),
        ({"message": ["Another open merge request already exists"]}, "Another open merge request already exists"),
        ({"message": {"title": ["can't be blank", "is short"]}}, "title can't be blank; title is short"),
        ({"error": "insufficient_scope", "error_description": "x"}, "insufficient_scope"),
        ({"errors": None, "message": "The target couldn't be found.", "url": "x"}, "The target couldn't be found"),
        ({"message": "two\nlines\tand a \x07bell"}, "two lines and a bell"),
        ({"message": {"deep": {"er": 1}}, "errors": [{"message": 1}, 2, None, [3]]}, ""),
        ([1], ""),
        ("text", ""),
    ],
)
def test_the_forges_own_words(body: object, said: str) -> None:
    assert reason(answer(body)) == said


@given(st.binary(max_size=200))
def test_any_bytes_are_read(body: bytes) -> None:
    assert reason(Answer(422, {}, body)).isprintable()


def test_words_are_cut() -> None:
    assert len(reason(answer({"message": "x" * 5_000}))) == MAX_REASON + 1


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 409, 410, 418, 422, 423, 599])
def test_no_refusal_repeats_the_token(status: int) -> None:
    error = refusal(answer({"message": "canary-1 and canary-1"}, status), "forge.example", "canary-1")
    assert "canary" not in error.sentence()
    assert "forge.example" in error.message
    assert error.message.endswith(".")
    assert ".." not in error.message


@pytest.mark.parametrize(
    ("status", "headers", "seconds"),
    [
        (200, {"retry_after": "5"}, None),
        (403, {}, None),
        (403, {"x_ratelimit_remaining": "12", "x_ratelimit_reset": "5"}, None),
        (429, {}, 60.0),
        (429, {"retry_after": "nan"}, 60.0),
        (429, {"retry_after": "-3"}, 60.0),
        (429, {"retry_after": "Wed, 01 Jan 2031 00:00:30 GMT"}, 30.0),
        (429, {"retry_after": "Wed, 01 Jan 2031 00:00:30"}, 60.0),
        (403, {"x_ratelimit_remaining": "0", "x_ratelimit_reset": "1"}, 0.0),
    ],
)
def test_how_long_a_limit_lasts(status: int, headers: dict[str, str], seconds: float | None) -> None:
    assert wait_of(answer({}, status, **headers), NOW) == seconds


@pytest.mark.parametrize(
    ("is_open", "is_merged", "is_draft", "state"),
    [
        (True, False, False, PullRequestState.OPEN),
        (True, False, True, PullRequestState.DRAFT),
        (False, False, True, PullRequestState.CLOSED),
        (False, True, True, PullRequestState.MERGED),
    ],
)
def test_states(*, is_open: bool, is_merged: bool, is_draft: bool, state: PullRequestState) -> None:
    assert state_of(is_open=is_open, is_merged=is_merged, is_draft=is_draft) is state


@pytest.mark.parametrize(
    ("headers", "page"),
    [
        ({}, None),
        ({"link": '<https://x/a?per_page=50&page=2>; rel="next", <https://x/a?per_page=50&page=13>; rel="last"'}, 13),
        ({"link": '<https://x/a?page=13&per_page=50>; rel="last"'}, 13),
        ({"link": '<https://x/a?per_page=50>; rel="last"'}, None),
        ({"link": '<https://x/a?page=2>; rel="next"'}, None),
        ({"x-total-count": "101"}, 3),
        ({"x-total-count": "100"}, 2),
        ({"x-total-count": "0"}, 0),
        ({"x-total-count": "many"}, None),
        ({"x-total-count": "٣"}, None),
    ],
)
def test_the_last_page_of_a_list(headers: dict[str, str], page: int | None) -> None:
    assert last_page_of(Answer(200, headers, b"[]"), 50) == page
    assert last_page_of(Answer(200, {"x-total-count": "7"}, b"[]"), 0) is None
