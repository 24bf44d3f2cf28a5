"""Formats of keys and tokens that are well known, and what tells a real one from an example. Pure.

Formats are facts that their issuers publish. Only those with a prefix or a frame of their own are here: a find fails a
step, so that what merely looks random is not enough. Every repetition has a bound, so that no text makes the search
slow.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

#: More than any format is long, with what must follow it to be sure.
LONGEST = 512

#: What examples are made of.
_PLACEHOLDERS = re.compile(
    rb"example|x{4}|placeholder|changeme|change-me|dummy|sample|redacted|your[_-]|insert|fake|\*{3}|\.{3}"
    rb"|abcdefgh|12345678|98765432|hgfedcba",
    re.IGNORECASE,
)
_REPEATED = re.compile(rb"(.)\1{5}", re.DOTALL)
_BASE64_RUN = re.compile(rb"[A-Za-z0-9+/]+")
#: The shortest line of a key's body.
_MIN_BODY = 48
_BLOCK_ENDS = re.compile(rb"-----END |Private-MAC:")


@dataclass(frozen=True, slots=True)
class Format:
    """`needles`: one of them is in whatever the pattern matches (a plain search is many times faster). The secret is
    the pattern's first group, or all of it. `bits`: of Shannon's entropy a character, that a real one has at least."""

    kind: str
    needles: tuple[bytes, ...]
    pattern: re.Pattern[bytes]
    bits: float = 2.8
    is_block: bool = False  # a key in lines of base64: what follows its header is looked at

    def secret(self, match: re.Match[bytes]) -> bytes | None:
        """What was matched, unless it is an example."""
        found: bytes = match[1] if self.pattern.groups else match[0]
        if self.is_block:  # which may well repeat a character: OpenSSH's keys hold many zeros
            runs = _BASE64_RUN.findall(found)
            if max(map(len, runs), default=0) < _MIN_BODY:
                return None
            found = b"".join(runs)
        elif _PLACEHOLDERS.search(found) or _REPEATED.search(found):
            return None
        return found if _entropy(found) >= self.bits else None

    def span(self, match: re.Match[bytes]) -> tuple[int, int]:
        """Where it stands; of a key in lines, from behind its header to its end."""
        if not self.is_block:
            return match.span(self.pattern.groups)
        text = match.string
        end = _BLOCK_ENDS.search(text, match.end())
        return match.end(), end.start() if end is not None else len(text)


def _entropy(text: bytes) -> float:
    """Bits a character."""
    length = len(text)
    return -sum(count / length * math.log2(count / length) for count in Counter(text).values())


def _format(kind: str, needles: str, start: str, rest: str, *, bits: float = 2.8) -> Format:
    """`needles`: parted by spaces. `start`: of a fixed length. It stands first, since a search that begins with letters
    is many times faster than one that begins with a look behind."""
    framed = rf"{start}(?<![A-Za-z0-9]{start}){rest}(?![A-Za-z0-9])"
    return Format(kind, tuple(needles.encode().split()), re.compile(framed.encode()), bits)


def _block(kind: str, needles: str, header: str) -> Format:
    pattern = rf"{header}(?=([\s\S]{{48,400}}))"
    return Format(kind, tuple(needles.encode().split()), re.compile(pattern.encode()), 3.5, is_block=True)


_AWS_NAMES = r"(?i:aws_?secret(?:_?access)?_?key|secret_?access_?key)"
_GITLAB = "glpat- gldt- glrt- glptt- glft- glsoat- glcbt- glimt- glagent- gloas-"

FORMATS: Sequence[Format] = (
    _format("AWS access key", "AKIA ASIA", "A[KS]IA", r"[A-Z2-7]{16}"),
    Format(
        "AWS secret access key",
        tuple(b"secret_access_key SecretAccessKey secretAccessKey SECRET_ACCESS_KEY aws_secret AWS_SECRET".split()),
        re.compile(
            rf"{_AWS_NAMES}[\"']?[\t ]{{0,8}}(?:=>|[=:,])[\t ]{{0,8}}[\"']?".encode()
            + rb"([A-Za-z0-9/+]{40})(?![A-Za-z0-9/+=])"
        ),
        bits=4.0,
    ),
    _format("GitHub token", "ghp_ gho_ ghu_ ghs_ ghr_", "gh[pousr]_", r"[A-Za-z0-9]{36,251}", bits=3.5),
    _format("GitHub token", "github_pat_", "github_pat_", r"[A-Za-z0-9]{22}_[A-Za-z0-9]{59}", bits=3.5),
    _format(
        "GitLab token", _GITLAB, "gl", r"(?:pat|dt|rt|ptt|ft|soat|cbt|imt|agent|oas)-[A-Za-z0-9_.-]{20,255}", bits=3.3
    ),
    _format("Slack token", "xox", "xox[abeoprs]-", r"[A-Za-z0-9-]{24,250}", bits=3.0),
    _format(
        "Slack webhook",
        "hooks.slack.com/",
        r"hooks\.slack\.com/",
        r"(?:services|workflows|triggers)/([A-Za-z0-9+/]{40,60})",
    ),
    _format("Anthropic key", "sk-ant-", "sk-ant-", r"[a-z]{2,6}[0-9]{2}-[A-Za-z0-9_-]{32,255}", bits=3.5),
    _format(
        "OpenAI key",
        "sk-proj- sk-svcacct- sk-admin-",
        "sk-",
        r"(?:proj|svcacct|admin)-[A-Za-z0-9_-]{40,255}",
        bits=3.5,
    ),
    _format("OpenAI-like key", "sk-", "sk-", r"(?:or-v1-[0-9a-f]{64}|[A-Za-z0-9]{48})", bits=3.5),
    _format("Google API key", "AIza", "AIza", r"[A-Za-z0-9_-]{35}", bits=3.5),
    _format("Google client secret", "GOCSPX-", "GOCSPX-", r"[A-Za-z0-9_-]{28}", bits=3.3),
    _format("Stripe key", "k_live_", "[rs]k_live_", r"[A-Za-z0-9]{16,250}", bits=3.0),
    _format("npm token", "npm_", "npm_", r"[A-Za-z0-9]{36}", bits=3.5),
    _format(
        "PyPI token",
        "pypi-Ag",
        "pypi-Ag",
        r"(?:EIcHlwaS5vcmc|ENdGVzdC5weXBpLm9yZw)[A-Za-z0-9_-]{50,255}",
        bits=3.5,
    ),
    _format("Twilio key", "SK", "SK", r"[0-9a-f]{32}", bits=3.0),
    _format("SendGrid key", "SG.", r"SG\.", r"[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}", bits=3.5),
    _format("Hugging Face token", "hf_", "hf_", r"[A-Za-z0-9]{34,40}", bits=3.5),
    _format("DigitalOcean token", "_v1_", "do[opr]_v1_", r"[0-9a-f]{64}", bits=3.0),
    _format("Databricks token", "dapi", "dapi", r"[0-9a-f]{32}(?:-[0-9])?", bits=3.0),
    _format("Shopify token", "shpat_ shpca_ shppa_ shpss_", "shp", r"(?:at|ca|pa|ss)_[0-9a-fA-F]{32}", bits=3.0),
    _format("Azure storage key", "AccountKey=", "AccountKey=", r"([A-Za-z0-9+/]{86})==", bits=4.0),
    Format(
        "Telegram bot token",
        (b":AA",),
        re.compile(rb"(?<![A-Za-z0-9])[0-9]{8,10}:AA[A-Za-z0-9_-]{33}(?![A-Za-z0-9])"),
        bits=3.5,
    ),
    _format("age key", "AGE-SECRET-KEY-1", "AGE-SECRET-KEY-1", r"[02-9AC-HJ-NP-Z]{58}", bits=3.3),
    _format("Treadle key", "trd_", "trd_", r"[A-Za-z0-9_-]{43}", bits=3.5),
    _block("private key", "PRIVATE", r"-----BEGIN (?:[A-Z0-9]{2,10} ){0,2}PRIVATE KEY(?: BLOCK)?-----"),
    _block("PuTTY private key", "PuTTY-User-Key-File-", r"PuTTY-User-Key-File-[23]: [a-z0-9-]{3,40}"),
)
