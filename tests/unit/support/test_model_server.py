import json
import socket
import threading
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from tests.support.model_script import Drop, Fail, Hang, ModelRequest, Stall, Thinking, Turn, bash, say, write
from tests.support.model_server import ModelServer


def ask(url: str, prompt: str = "hi", *, stream: bool = False) -> str:
    body = {"model": "m", "stream": stream, "messages": [{"role": "user", "content": prompt}]}
    headers = {"Content-Type": "application/json", "x-api-key": "canary"}
    with urlopen(Request(url, json.dumps(body).encode(), headers)) as answer:
        text: str = answer.read().decode()
    return text


def test_messages_whole_and_streamed() -> None:
    turn = say(Thinking("hm"), "text", write("/a", "b"), input_tokens=7)
    with ModelServer([turn, turn]) as model:
        whole = json.loads(ask(f"{model.url}/v1/messages"))
        assert [block["type"] for block in whole["content"]] == ["thinking", "text", "tool_use"]
        assert whole["usage"]["input_tokens"] == 7
        events = ask(f"{model.url}/v1/messages", stream=True).split("\n\n")
        assert events[0].startswith("event: message_start\n")
        assert events[-2].startswith("event: message_stop\n")
        assert [request.credential for request in model.turns] == ["x-api-key canary"] * 2


def test_chat_completions_whole_and_streamed() -> None:
    with ModelServer([say("text", bash("ls")), say("text")]) as model:
        whole = json.loads(ask(f"{model.openai_url}/chat/completions"))
        assert whole["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "Bash"
        assert whole["choices"][0]["finish_reason"] == "tool_calls"
        assert ask(f"{model.openai_url}/chat/completions", stream=True).endswith("data: [DONE]\n\n")


def test_script_by_prompt() -> None:
    def script(request: ModelRequest) -> Turn:
        return say("yes") if "fix" in request.last else Fail(429, "slow down", headers={"retry-after": "9"})

    with ModelServer(script) as model:
        assert "yes" in ask(f"{model.url}/v1/messages", "fix it")
        with pytest.raises(HTTPError, match="429") as caught:
            ask(f"{model.url}/v1/messages", "break it")
        assert caught.value.headers["retry-after"] == "9"
        assert json.load(caught.value)["error"]["message"] == "slow down"


def test_a_script_that_is_too_short_fails_the_test() -> None:
    with pytest.raises(AssertionError, match="too short"), ModelServer([]) as model, pytest.raises(HTTPError):
        ask(f"{model.url}/v1/messages")


def test_side_requests_are_no_turns() -> None:
    with ModelServer([]) as model:
        assert json.loads(ask(f"{model.url}/v1/messages/count_tokens"))["input_tokens"] > 0
        with pytest.raises(HTTPError, match="404"):
            urlopen(f"{model.url}/api/whatever")
        assert len(model.requests) == 2
        assert model.turns == []


@pytest.mark.parametrize("turn", [Hang(), say("half", Stall()), Drop()])
def test_no_whole_answer_comes(turn: Turn) -> None:
    finished = threading.Event()

    def client(url: str) -> None:
        try:
            ask(url, stream=True)
        except (OSError, HTTPException):
            finished.set()

    with ModelServer([turn]) as model:
        thread = threading.Thread(target=client, args=(f"{model.url}/v1/messages",))
        thread.start()
        model.wait_for_turns(1)
        assert isinstance(turn, Drop) or not finished.wait(0.2)
    thread.join()  # leaving the server closed the connection
    assert finished.is_set() or not isinstance(turn, Drop)


def test_waiting_has_an_end() -> None:
    with ModelServer([]) as model, pytest.raises(TimeoutError):
        model.wait_for_turns(1, seconds=0.01)


def test_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "model.sock"
    with ModelServer([say("text")], unix_socket=path) as model, socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        body = b'{"messages":[]}'
        head = b"POST /v1/messages HTTP/1.1\r\nHost: model\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
        client.sendall(head % len(body) + body)
        answer = b"".join(iter(lambda: client.recv(4096), b""))
        assert b'"text"' in answer
        assert len(model.turns) == 1
