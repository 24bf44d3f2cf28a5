"""The Dummy engine's program: does what stdin tells it, in the current directory, and speaks the Claude stream.

    python -I -S dummy_cli.py <order.json

An order is what `treadle.engines.dummy` writes. The exit codes are the Claude CLI's, and USAGE_ERROR for an order that
cannot be followed, with the reason on stderr. Each conversation leaves a transcript below the configuration directory;
without it the conversation cannot be resumed.

A program of its own, without Treadle and with the few builtin modules that cost nothing: `json`, `signal`, `pathlib`
and `typing` would double the time that it takes to start, in every phase of every dummy run.
"""

# pathlib is one of those modules
# ruff: noqa: PTH103, PTH107, PTH109, PTH110, PTH120, PTH123

import _json
import _signal  # type: ignore[import-not-found] # typeshed has no stub for it
import os
import sys
import time
from _collections_abc import Callable  # collections.abc brings all of collections along

USAGE_ERROR = 64

_SHOWN_BYTES = 30_000
_BLOCK_BYTES = 1 << 20
_SERVER_ERROR = 500

#: How the CLI words what the API answered: its kind, its text. The others are the server's fault, or unknown.
_FAILURES = {
    400: ("billing_error", "Credit balance is too low"),
    401: ("authentication_failed", "Invalid API key · Fix external API key"),
    403: ("authentication_failed", "Failed to authenticate. API Error: 403 scripted failure"),
    404: ("model_not_found", "There's an issue with the selected model. It may not exist or you may not have access."),
    413: ("invalid_request", "Request too large (max 32MB)."),
    429: ("rate_limit", "API Error: Request rejected (429) · scripted failure"),
}


class _Ended(Exception):
    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Dummy:
    """One call. Its methods named `do_…` are the actions of a script."""

    def __init__(
        self,
        *,
        session: str,
        is_resumed: bool,
        config: str,
        model: str,
        prompt: str,
        answer: str,
        is_structured: bool,
        actions: list[tuple[str, object]],
    ) -> None:
        self._session = session
        self._is_resumed = is_resumed
        self._transcript = f"{config}/sessions/{session}.jsonl"
        self._model = model
        self._prompt = prompt
        self._answer = answer
        self._is_structured = is_structured
        self._structured: object = {}  # nothing special
        self._actions = actions
        self._has_changed = False
        self._input = self._output = self._messages = 0
        self._cost = 0.0

    def call(self) -> int:
        """The exit code."""
        os.makedirs(os.path.dirname(self._transcript), exist_ok=True)
        if os.path.exists(self._transcript) != self._is_resumed:
            fault = "No conversation found with session ID" if self._is_resumed else "There is a conversation with ID"
            os.write(2, f"{fault}: {self._session}\n".encode())
            error = {"is_error": True, "errors": [f"{fault}: {self._session}"]}
            self._emit({"type": "result", "subtype": "error_during_execution", **error})
            return 1
        self._keep("user", self._prompt)
        start = {"cwd": os.getcwd(), "model": self._model, "tools": ["Bash", "Edit", "Write"]}
        self._emit({"type": "system", "subtype": "init", **start})
        try:
            for name, value in self._actions:
                getattr(self, f"do_{name}")(value)
        except _Ended as ended:
            return ended.code
        self._keep("assistant", self._answer)
        self._end(self._answer, {"structured_output": self._answered()} if self._is_structured else {})
        return 0

    # ---- the actions -------------------------------------------------------------------------------------------------

    def do_write(self, file: list[str]) -> None:
        self._use("Write", {"file_path": file[0], "content": file[1]}, lambda: self._put(file[0], file[1], "wb"))

    def do_append(self, file: list[str]) -> None:
        self._use("Edit", {"file_path": file[0], "new_string": file[1]}, lambda: self._put(file[0], file[1], "ab"))

    def do_delete(self, path: str) -> None:
        def delete() -> tuple[str, bool]:
            os.remove(path)
            self._has_changed = True
            return f"Deleted {path}", False

        self._use("Bash", {"command": f"rm {path}"}, delete)

    def do_run(self, line: str) -> None:
        self._use("Bash", {"command": line}, lambda: self._shell(line))

    def do_say(self, text: str) -> None:
        self._answer = text
        self._speak({"type": "text", "text": text})

    def do_think(self, text: str) -> None:
        self._speak({"type": "thinking", "thinking": text})

    def do_structured(self, value: object) -> None:
        self._structured = value

    def do_usage(self, usage: dict[str, float]) -> None:
        self._input += int(usage.get("input", 0))
        self._output += int(usage.get("output", 0))
        self._cost += usage.get("cost", 0.0)

    def do_sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def do_hang(self, _value: bool) -> None:
        while True:
            _signal.pause()

    def do_fail(self, status: int) -> None:
        unknown = "server_error" if status >= _SERVER_ERROR else "unknown"
        kind, text = _FAILURES.get(status, (unknown, f"API Error: {status} scripted failure"))
        self._fail(kind, text, {"api_error_status": status})

    def do_limit(self, resets_at: int) -> None:
        info = {"status": "rejected", "resetsAt": resets_at, "rateLimitType": "five_hour"}
        self._emit({"type": "rate_limit_event", "rate_limit_info": info})
        error = {"api_error_status": 429, "api_error": "usage_limit_reached"}
        self._fail("rate_limit", "You've hit your 5-hour limit", error)

    def do_exit(self, code: int) -> None:
        os.write(2, b"Ended as the script says.\n")
        raise _Ended(code)

    def do_ignore_sigterm(self, _value: bool) -> None:
        _signal.signal(_signal.SIGTERM, _signal.SIG_IGN)

    def do_spawn(self, seconds: float) -> None:
        def spawn() -> tuple[str, bool]:
            os.posix_spawnp("sleep", ["sleep", str(seconds)], os.environ, setsid=True)
            return "", False

        self._use("Bash", {"command": f"setsid sleep {seconds} &"}, spawn)

    def do_line(self, size: int) -> None:
        def line(text: str) -> bytes:
            return _encode({"type": "assistant", "message": {"content": [{"type": "text", "text": text}]}})

        frame = len(line(""))
        _write(line("x" * (size - frame)) if size >= frame else b"x" * size)
        _write(b"\n")

    # ---- what they are made of ---------------------------------------------------------------------------------------

    def _put(self, path: str, text: str, mode: str) -> tuple[str, bool]:
        if folder := os.path.dirname(path):
            os.makedirs(folder, exist_ok=True)
        with open(path, mode) as file:
            file.write(text.encode())
        self._has_changed = True
        return f"Wrote {path}", False

    def _shell(self, line: str) -> tuple[str, bool]:
        """As the real CLI does: in a session of its own. Its output goes to a file, so that nothing it leaves behind
        can hold a pipe open."""
        output = os.memfd_create("output")
        nothing = (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)
        both = [(os.POSIX_SPAWN_DUP2, output, fd) for fd in (1, 2)]
        shell = os.posix_spawn("/bin/sh", ["sh", "-c", line], os.environ, file_actions=[nothing, *both], setsid=True)
        code = os.waitstatus_to_exitcode(os.waitpid(shell, 0)[1])
        text = os.pread(output, _SHOWN_BYTES, 0).decode(errors="replace")
        os.close(output)
        self._has_changed = True
        return (f"Exit code {code}\n{text}", True) if code else (text, False)

    def _use(self, tool: str, arguments: dict[str, str], work: Callable[[], tuple[str, bool]]) -> None:
        identity = f"toolu_{self._messages}"
        self._speak({"type": "tool_use", "id": identity, "name": tool, "input": arguments})
        try:
            output, is_error = work()
        except OSError as error:
            output, is_error = str(error), True
        block = {"type": "tool_result", "tool_use_id": identity, "content": output, "is_error": is_error}
        self._emit({"type": "user", "message": {"role": "user", "content": [block]}, "parent_tool_use_id": None})

    def _speak(self, block: dict[str, object], **more: object) -> None:
        self._messages += 1
        message = {"id": f"msg_{self._messages}", "role": "assistant", "model": self._model, "content": [block]}
        self._emit({"type": "assistant", "message": message, "parent_tool_use_id": None, **more})

    def _answered(self) -> object:
        """What the script gives, over what a plain success would say."""
        if not isinstance(self._structured, dict):
            return self._structured
        return {
            "output": self._answer,
            "thinking": "A dummy does not think.",
            "wasSuccessful": True,
            "didGenerateCode": self._has_changed,
            "isAdditionalWorkRequiredToContinue": False,
            **self._structured,
        }

    def _fail(self, kind: str, text: str, error: dict[str, object]) -> None:
        self._speak({"type": "text", "text": text}, error=kind, is_api_error_message=True, **error)
        self._end(text, {"is_error": True, "terminal_reason": "api_error", **error})
        raise _Ended(1)

    def _end(self, text: str, more: dict[str, object]) -> None:
        tokens = {"inputTokens": self._input, "outputTokens": self._output, "costUSD": self._cost}
        result: dict[str, object] = {
            "type": "result",
            "subtype": "success",
            "is_error": False,
            "result": text,
            "total_cost_usd": self._cost,
            "usage": {"input_tokens": self._input, "output_tokens": self._output},
            "model_usage_since_last_result": {self._model: tokens},
            "permission_denials": [],
            "terminal_reason": "completed",
            **more,
        }
        if result.get("structured_output", "") is None:
            del result["structured_output"]  # as by a model that never calls the tool
        self._emit(result)

    def _keep(self, role: str, text: str) -> None:
        with open(self._transcript, "ab") as transcript:
            transcript.write(_encode({"role": role, "text": text}) + b"\n")

    def _emit(self, line: dict[str, object]) -> None:
        _write(_encode({**line, "session_id": self._session}) + b"\n")


def _write(data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(1, view[:_BLOCK_BYTES]) :]


def _encode(value: object) -> bytes:
    return _json_of(value).encode("ascii")


def _json_of(value: object) -> str:
    if isinstance(value, str):
        return _json.encode_basestring_ascii(value)
    if isinstance(value, dict):
        items = ",".join([f"{_json_of(name)}:{_json_of(item)}" for name, item in value.items()])
        return f"{{{items}}}"
    if isinstance(value, list):
        return f"[{','.join(map(_json_of, value))}]"
    if isinstance(value, int | float) and not isinstance(value, bool):
        return repr(value)
    return "null" if value is None else "true" if value else "false"


class _Scanning:
    """What the scanner of the `json` package is configured with."""

    strict = True
    object_hook = object_pairs_hook = None
    parse_float, parse_int, parse_constant = float, int, float


def main() -> int:
    scan = _json.make_scanner(_Scanning)  # type: ignore[arg-type] # typeshed wants the class that `json` itself hands over
    order, _ = scan(sys.stdin.buffer.read().decode(), 0)
    if fault := order.pop("fault"):
        os.write(2, f"{fault}\n".encode())
        return USAGE_ERROR
    return Dummy(**order).call()


if __name__ == "__main__":
    os._exit(main())  # taking the interpreter down tidily would cost another 2 ms
