"""Turns as the Anthropic Messages API and the OpenAI chat-completions API put them on the wire."""

import itertools
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Protocol

from pydantic import JsonValue

from tests.support.model_script import ModelRequest, Say, Stall, Text, Thinking, ToolUse, Wait

Json = dict[str, JsonValue]

_PATIENCE_SECONDS = 60.0

_numbers = itertools.count(1)  # ids need only differ within a test process


class Stalled(Exception):
    """Raised in the middle of a stream where the script says that nothing more comes."""


class Dialect(Protocol):
    """How one API writes a turn."""

    def stream(self, turn: Say, request: ModelRequest) -> Iterator[bytes]:
        """Server-sent events, piece by piece.

        Raises:
            Stalled: where the turn stalls.
        """

    def whole(self, turn: Say, request: ModelRequest) -> Json:
        """The answer in one piece."""

    def error(self, status: int, message: str) -> Json: ...


class Anthropic:
    """The Messages API."""

    def stream(self, turn: Say, request: ModelRequest) -> Iterator[bytes]:
        message = self._message(replace(turn, blocks=()), request)
        message["stop_reason"] = None
        yield _event("message_start", {"message": message})
        yield _event("ping", {})
        for index, block in enumerate(turn.blocks):
            match block:
                case Stall():
                    raise Stalled
                case Wait(may_go):
                    may_go.wait(_PATIENCE_SECONDS)
                    continue
                case Text(text):
                    start: Json = {"type": "text", "text": ""}
                    deltas: list[Json] = [{"type": "text_delta", "text": part} for part in _split(text)]
                case Thinking(text):
                    start = {"type": "thinking", "thinking": "", "signature": ""}
                    deltas = [{"type": "thinking_delta", "thinking": part} for part in _split(text)]
                    deltas.append({"type": "signature_delta", "signature": "c2lnbmVk"})
                case ToolUse(name, arguments):
                    start = {"type": "tool_use", "id": f"toolu_{next(_numbers):024}", "name": name, "input": {}}
                    whole = json.dumps(dict(arguments))
                    deltas = [{"type": "input_json_delta", "partial_json": part} for part in _split(whole)]
            yield _event("content_block_start", {"index": index, "content_block": start})
            for delta in deltas:
                yield _event("content_block_delta", {"index": index, "delta": delta})
            yield _event("content_block_stop", {"index": index})
        stop: Json = {"stop_reason": self._stop_reason(turn), "stop_sequence": None}
        usage: Json = {"output_tokens": turn.output_tokens}
        if turn.searches:
            usage["server_tool_use"] = {"web_search_requests": turn.searches, "web_fetch_requests": 0}
        yield _event("message_delta", {"delta": stop, "usage": usage})
        yield _event("message_stop", {})

    def whole(self, turn: Say, request: ModelRequest) -> Json:
        return self._message(turn, request)

    def error(self, status: int, message: str) -> Json:
        kinds = {
            400: "invalid_request_error",
            401: "authentication_error",
            403: "permission_error",
            404: "not_found_error",
            429: "rate_limit_error",
            529: "overloaded_error",
        }
        kind = kinds.get(status, "api_error")
        return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_scripted"}

    def _message(self, turn: Say, request: ModelRequest) -> Json:
        content: list[JsonValue] = []
        for block in turn.blocks:
            match block:
                case Text(text):
                    content.append({"type": "text", "text": text})
                case Thinking(text):
                    content.append({"type": "thinking", "thinking": text, "signature": "c2lnbmVk"})
                case ToolUse(name, arguments):
                    tool_id = f"toolu_{next(_numbers):024}"
                    content.append({"type": "tool_use", "id": tool_id, "name": name, "input": dict(arguments)})
                case Stall():
                    raise Stalled
                case Wait(may_go):
                    may_go.wait(_PATIENCE_SECONDS)
        minutes = turn.cache_write_tokens - turn.hour_write_tokens
        return {
            "id": f"msg_{next(_numbers):024}",
            "type": "message",
            "role": "assistant",
            "model": request.model,
            "content": content,
            "stop_reason": self._stop_reason(turn),
            "stop_sequence": None,
            "usage": {
                "input_tokens": turn.input_tokens,
                "output_tokens": turn.output_tokens,
                "cache_creation_input_tokens": turn.cache_write_tokens,
                "cache_read_input_tokens": turn.cache_read_tokens,
                "cache_creation": {
                    "ephemeral_5m_input_tokens": minutes,
                    "ephemeral_1h_input_tokens": turn.hour_write_tokens,
                },
                "server_tool_use": {"web_search_requests": turn.searches, "web_fetch_requests": 0}
                if turn.searches
                else None,
            },
        }

    @staticmethod
    def _stop_reason(turn: Say) -> str:
        return "tool_use" if any(isinstance(block, ToolUse) for block in turn.blocks) else "end_turn"


class OpenAI:
    """The chat-completions API, with `reasoning_content` for thinking as Kimi's has it."""

    def stream(self, turn: Say, request: ModelRequest) -> Iterator[bytes]:
        completion = f"chatcmpl-{next(_numbers)}"

        def chunk(delta: Json, finish: str | None = None, usage: Json | None = None) -> bytes:
            choices: list[JsonValue] = [{"index": 0, "delta": delta, "finish_reason": finish}]
            body: Json = {
                "id": completion,
                "object": "chat.completion.chunk",
                "created": 0,
                "model": request.model,
                "choices": choices if usage is None else [],
            }
            if usage is not None:
                body["usage"] = usage
            return f"data: {json.dumps(body)}\n\n".encode()

        yield chunk({"role": "assistant", "content": ""})
        calls = 0
        for block in turn.blocks:
            match block:
                case Stall():
                    raise Stalled
                case Wait(may_go):
                    may_go.wait(_PATIENCE_SECONDS)
                case Text(text):
                    yield from (chunk({"content": part}) for part in _split(text))
                case Thinking(text):
                    yield from (chunk({"reasoning_content": part}) for part in _split(text))
                case ToolUse(name, arguments):
                    call: Json = {
                        "index": calls,
                        "id": f"call_{next(_numbers)}",
                        "type": "function",
                        "function": {"name": name, "arguments": json.dumps(dict(arguments))},
                    }
                    yield chunk({"tool_calls": [call]})
                    calls += 1
        yield chunk({}, finish="tool_calls" if calls else "stop")
        yield chunk({}, usage=self._usage(turn))
        yield b"data: [DONE]\n\n"

    def whole(self, turn: Say, request: ModelRequest) -> Json:
        calls: list[JsonValue] = []
        message: Json = {"role": "assistant", "content": ""}
        for block in turn.blocks:
            match block:
                case Text(text):
                    message["content"] = f"{message['content']}{text}"
                case Thinking(text):
                    message["reasoning_content"] = text
                case ToolUse(name, arguments):
                    function: Json = {"name": name, "arguments": json.dumps(dict(arguments))}
                    calls.append({"id": f"call_{next(_numbers)}", "type": "function", "function": function})
                case Stall():
                    raise Stalled
                case Wait(may_go):
                    may_go.wait(_PATIENCE_SECONDS)
        if calls:
            message["tool_calls"] = calls
        choice: Json = {"index": 0, "message": message, "finish_reason": "tool_calls" if calls else "stop"}
        return {
            "id": f"chatcmpl-{next(_numbers)}",
            "object": "chat.completion",
            "created": 0,
            "model": request.model,
            "choices": [choice],
            "usage": self._usage(turn),
        }

    def error(self, status: int, message: str) -> Json:
        kinds = {401: "invalid_authentication_error", 429: "rate_limit_reached_error"}
        return {"error": {"message": message, "type": kinds.get(status, "server_error")}}

    @staticmethod
    def _usage(turn: Say) -> Json:
        return {
            "prompt_tokens": turn.input_tokens,
            "completion_tokens": turn.output_tokens,
            "total_tokens": turn.input_tokens + turn.output_tokens,
            "cached_tokens": turn.cache_read_tokens,
        }


def _event(name: str, data: Json) -> bytes:
    return f"event: {name}\ndata: {json.dumps({'type': name, **data})}\n\n".encode()


def _split(text: str) -> list[str]:
    """Two pieces, so that a client which only reads the first delta is found out."""
    middle = len(text) // 2
    return [part for part in (text[:middle], text[middle:]) if part] or [""]
