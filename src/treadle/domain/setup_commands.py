"""Setup commands as an agent answers with them. Pure."""

import re
from collections.abc import Iterator

#: Of an answer, more than this are no setup commands.
MAX_LINES = 200
MAX_BYTES = 64 * 1024

_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})[ \t]*([^\s`{]*)")
_SHELLS = frozenset({"", "bash", "console", "sh", "shell", "shell-session", "terminal", "zsh"})
_PROMPT = re.compile(r"^\$ ")

#: A line that begins with one of these, or with a path, is a command and no sentence.
_TOOLS = frozenset(
    {
        *("apt", "apt-get", "asdf", "bash", "brew", "bun", "bundle", "cargo", "cd", "chmod", "cmake", "composer"),
        *("conda", "corepack", "cp", "curl", "dart", "deno", "docker", "dotnet", "echo", "eval", "export", "flutter"),
        *("gem", "git", "go", "gradle", "hatch", "just", "ln", "make", "mamba", "mise", "mix", "mkdir", "mvn", "npm"),
        *("npx", "nvm", "pdm", "pip", "pip3", "pipenv", "pipx", "pixi", "pnpm", "poetry", "pre-commit", "pyenv"),
        *("python", "python3", "rbenv", "rustup", "sbt", "set", "sh", "source", "stack", "sudo", "swift", "tar"),
        *("touch", "true", "unset", "uv", "wget", "yarn"),
    }
)
_WORD = re.compile(r"(?:[A-Za-z_]\w*=\S*\s+)*([\w.+/~-]+)(?=\s|$)")


def commands_in(answer: str) -> str | None:
    """The commands that an answer gives, one a line: its last fenced block of a shell's, else its last one, else the
    whole of it where it is plainly commands. None where there are none, or too many."""
    blocks = list(_blocks(answer))
    of_shells = [text for language, text in blocks if language in _SHELLS]
    if of_shells:
        found = of_shells[-1]
    elif blocks:
        found = blocks[-1][1]
    else:
        found = answer if _is_plain(answer) else ""
    lines = [_PROMPT.sub("", line.rstrip()) for line in found.replace("\0", "").strip("\r\n").splitlines()]
    text = "\n".join(lines).strip("\n")
    if not _has_commands(lines) or len(lines) > MAX_LINES or len(text.encode(errors="replace")) > MAX_BYTES:
        return None
    return text


def _blocks(answer: str) -> Iterator[tuple[str, str]]:
    """The fenced blocks: each with its language, in lower case. One that is not closed goes to the end."""
    fence, language, inside = "", "", list[str]()
    for line in answer.splitlines():
        found = _FENCE.match(line)
        if not fence and found:
            fence, language, inside = found[1], found[2].lower(), []
        elif fence and found and found[1].startswith(fence) and not line[found.end() :].strip() and not found[2]:
            yield language, "\n".join(inside)
            fence = ""
        else:
            inside.append(line)
    if fence:
        yield language, "\n".join(inside)


def _is_plain(answer: str) -> bool:
    lines = [line.strip() for line in answer.splitlines()]
    return all(_is_command(_PROMPT.sub("", line)) for line in lines if line and not line.startswith("#"))


def _is_command(line: str) -> bool:
    word = _WORD.match(line)
    return word is not None and (word[1] in _TOOLS or word[1].startswith(("./", "../", "/", "~/")))


def _has_commands(lines: list[str]) -> bool:
    return any(line.strip() and not line.lstrip().startswith("#") for line in lines)
