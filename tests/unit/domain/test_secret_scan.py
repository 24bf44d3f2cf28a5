"""Keys are assembled here, so that no scanner of this repository finds them in its source."""

import base64
import bz2
import gzip
import io
import lzma
import random
import string
import tarfile
import zipfile
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.domain import secret_scan
from treadle.domain.secret_archives import MAX_UNPACKED_BYTES, Room, members
from treadle.domain.secret_formats import FORMATS
from treadle.domain.secret_scan import _WINDOW_SIZE, MAX_FINDS, OVERLAP_BYTES, OWN_KIND, Find, Scan, find_all
from treadle.redaction import Redactor, without_known

ALNUM = string.ascii_letters + string.digits
HEX = "0123456789abcdef"
OWN = "gX7-own/pässword 12"


def some(characters: str, count: int, seed: int = 1) -> str:
    return "".join(random.Random(seed).choices(characters, k=count))


def pem(kind: str, first: str = "") -> str:
    body = first + some(ALNUM, 64 * 3 - len(first))
    lines = "\n".join(body[at : at + 64] for at in range(0, len(body), 64))
    return f"-----BEGIN {kind} KEY-----\n{lines}\n-----END {kind} KEY-----\n"


KEYS = {
    "AWS access key": "AK" + "IA" + some(string.ascii_uppercase + "234567", 16),
    "AWS secret access key": "aws_secret_" + 'access_key = "' + some(ALNUM + "/+", 40) + '"',
    "GitHub token": "gh" + "p_" + some(ALNUM, 36),
    "GitLab token": "gl" + "pat-" + some(ALNUM, 20),
    "Slack token": "xo" + f"xb-{some(string.digits, 12)}-{some(string.digits, 12, 2)}-{some(ALNUM, 24)}",
    "Slack webhook": "https://hooks." + f"slack.com/services/T{some(ALNUM, 8)}/B{some(ALNUM, 8, 2)}/{some(ALNUM, 24)}",
    "Anthropic key": "sk-" + "ant-api03-" + some(ALNUM + "-_", 93) + "AA",
    "OpenAI key": "sk-" + "proj-" + some(ALNUM, 100),
    "OpenAI-like key": "sk-" + some(ALNUM, 48),
    "Google API key": "AI" + "za" + some(ALNUM, 35),
    "Google client secret": "GOC" + "SPX-" + some(ALNUM, 28),
    "Stripe key": "sk_" + "live_" + some(ALNUM, 24),
    "npm token": "np" + "m_" + some(ALNUM, 36),
    "PyPI token": "py" + "pi-AgEIcHlwaS5vcmc" + some(ALNUM, 120),
    "Twilio key": "S" + "K" + some(HEX, 32),
    "SendGrid key": "S" + f"G.{some(ALNUM, 22)}.{some(ALNUM, 43)}",
    "Hugging Face token": "h" + "f_" + some(ALNUM, 34),
    "DigitalOcean token": "do" + "p_v1_" + some(HEX, 64),
    "Databricks token": "da" + "pi" + some(HEX, 32),
    "Shopify token": "shp" + "at_" + some(HEX, 32),
    "Azure storage key": "DefaultEndpointsProtocol=https;Account" + f"Key={some(ALNUM, 86)}==",
    "Telegram bot token": some("123456789", 10) + ":" + "AA" + some(ALNUM, 33),
    "age key": "AGE-SECRET-" + "KEY-1" + some("QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L", 58),
    "Treadle key": "tr" + "d_" + some(ALNUM + "-_", 43),
    "private key": pem("RSA PRIV" + "ATE"),
    "PuTTY private key": "PuTTY-User-Key-"
    f"File-3: ssh-ed25519\nEncryption: none\nComment: x\nPublic-Lines: 2\n{some(ALNUM, 64)}\n",
}


def nobodys(_text: str) -> bool:
    return False


def own(text: str) -> bool:
    redactor = Redactor([OWN])
    return redactor.text(text) != text


def kinds(data: bytes, holds: Callable[[str], bool] = nobodys) -> list[str]:
    return [find.kind for find in find_all(data, holds)]


def test_every_format_has_its_example() -> None:
    assert {each.kind for each in FORMATS} == set(KEYS)


@pytest.mark.parametrize("kind", KEYS)
@pytest.mark.parametrize("frame", ['key = "{}"\n', "{}", "KEY={}\r\n", "https://x:{}@host/", '{{"key":"{}"}}'])
def test_finds_each_format_in_its_place(kind: str, frame: str) -> None:
    before = "one\ntwo\n"
    finds = find_all((before + frame.format(KEYS[kind])).encode(), nobodys)
    assert [find.kind for find in finds] == [kind]
    assert finds[0].line == 3
    assert KEYS[kind] not in repr(finds)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-16", "utf-32"])
@pytest.mark.parametrize("kind", KEYS)
def test_finds_what_is_written_in_wide_characters(kind: str, encoding: str) -> None:
    data = f"one\ntwo\nkey = '{KEYS[kind]}'\n".encode(encoding)
    assert [(find.kind, find.line) for find in find_all(data, nobodys)] == [(kind, 3)]


EXAMPLES = (
    "AK" + "IAIOSFODNN7EXAMPLE",
    "AK" + "IA" + "A" * 16,
    "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "gh" + "p_" + "x" * 36,
    "gh" + "p_" + "a1" * 18,
    "gh" + "p_" + "abcdefghijklmnopqrstuvwxyz0123456789",
    "gl" + "pat-" + "XXXXXXXXXXXXXXXXXXXX",
    "sk-" + "ant-api03-your-key-goes-here-" + "0" * 40,
    "sk_" + "live_" + "1234567890" * 3,
    "sk_" + "test_" + some(ALNUM, 24),
    "da" + "pi" + "0123456789abcdef" * 2,
    "-----BEGIN PRIVATE" + " KEY-----\n...\n-----END PRIVATE KEY-----\n",
    "-----BEGIN PUBLIC" + " KEY-----\n" + some(ALNUM, 64) + "\n",
    "_PEM = re.compile(r'-----BEGIN ([A-Z0-9 ]*)PRIVATE" + " KEY-----(.+?)-----END')",
    "task-" + some(ALNUM, 48),
    "npm_config_registry=https://registry.example.com/a/rather/long/path/to/it",
    "integrity sha512-" + base64.b64encode(bytes(range(64))).decode(),
    "commit 3f786850e387550fdab836ed7e6dc881de23001b",
)


@pytest.mark.parametrize("text", EXAMPLES)
def test_examples_and_lookalikes_are_none(text: str) -> None:
    assert kinds(text.encode()) == []
    assert without_known(text) == text


@pytest.mark.parametrize("kind", KEYS)
@pytest.mark.parametrize("frame", ['é😀 "{}"\nand {}\n', "{}", "({})\n\nß"])
def test_takes_each_format_out_of_a_text(kind: str, frame: str) -> None:
    text = frame.replace("{}", KEYS[kind])
    clean = without_known(text)
    assert kinds(clean.encode()) == []
    assert "***" in clean
    assert clean[: frame.index("{")] == frame[: frame.index("{")]
    assert not any(line in clean for line in KEYS[kind].splitlines() if len(line) >= 60 and set(line) <= set(ALNUM))
    if kind != "PuTTY private key":  # whose end is not there
        assert clean.endswith(frame.rpartition("}")[2])


def test_a_private_key_that_ends_nowhere_is_taken_out_to_the_end() -> None:
    begin, lines, _ = KEYS["private key"].partition(" KEY-----\n")
    body, _, end = KEYS["private key"].removeprefix(begin + lines).partition("-----END")
    assert without_known(f"Add {begin}{lines}{body}") == f"Add {begin} KEY-----***"
    assert (
        without_known(f"Add {begin}{lines}{body}-----END{end}, please.")
        == f"Add {begin} KEY-----***-----END{end}, please."
    )


def test_an_openssh_key_is_one_although_it_holds_many_zeros() -> None:
    head = base64.b64encode(b"openssh-key-v1\0" + b"\0\0\0\x04none\0\0\0\x04none\0\0\0\0\0\0\0\x01").decode()
    assert kinds(pem("OPENSSH PRIV" + "ATE", head).encode()) == ["private key"]
    json = pem("PRIV" + "ATE").replace("\n", "\\n")
    assert kinds(f'{{"type": "service_account", "private_key": "{json}"}}'.encode()) == ["private key"]


def test_two_keys_that_begin_alike_are_not_the_same() -> None:
    head = base64.b64encode(b"openssh-key-v1\0" + b"\0\0\0\x04none" * 2 + bytes(24)).decode()
    one, other = (pem("OPENSSH PRIV" + "ATE", head + some(ALNUM, 20, seed)) for seed in (1, 2))
    assert find_all(one.encode(), nobodys)[0].digest != find_all(other.encode(), nobodys)[0].digest


@given(st.binary(max_size=2000))
def test_random_bytes_hold_nothing(data: bytes) -> None:
    assert find_all(data, nobodys) == []


def scan(pieces: list[bytes], holds: Callable[[str], bool] = nobodys) -> list[Find]:
    made = Scan(holds)
    for piece in pieces:
        made.feed(piece)
    made.close()
    return made.finds


@pytest.mark.parametrize(
    "at", [0, 1, _WINDOW_SIZE - 20, _WINDOW_SIZE, _WINDOW_SIZE + OVERLAP_BYTES - 20, 3 * _WINDOW_SIZE]
)
@pytest.mark.parametrize("piece", [1000, _WINDOW_SIZE, 10**9])
def test_finds_a_secret_wherever_the_pieces_part(at: int, piece: int) -> None:
    filler = b"some text\n" * (at // 10) + b"." * (at % 10)
    data = filler + b" " + KEYS["GitHub token"].encode() + b" " + OWN.encode() + b"\n" + b"rest\n" * 70_000
    found = scan([data[begin : begin + piece] for begin in range(0, len(data), piece)], own)
    line = filler.count(b"\n") + 1
    assert [(find.kind, find.line, find.offset) for find in found if find.kind != OWN_KIND] == [
        ("GitHub token", line, at + 1)
    ]
    assert {(find.kind, find.line) for find in found} == {("GitHub token", line), (OWN_KIND, line)}


@pytest.mark.parametrize(
    "text",
    [
        OWN.encode(),
        b"x = '" + OWN.encode() + b"'",
        base64.b64encode(b"user:" + OWN.encode()),
        OWN.encode().hex().encode(),
        b"0" + OWN.encode().hex().upper().encode(),
        OWN.encode("utf-16-le"),
        b"gX7-own%2Fp%C3%A4ssword%2012",
    ],
)
def test_finds_the_callers_own_in_many_forms(text: bytes) -> None:
    found = find_all(b"one\n" + text.replace(b"\n", b"") + b"\nthree", own)
    assert {(find.kind, find.line) for find in found} == {(OWN_KIND, 2)}
    assert find_all(b"one\ntwo\nthree", own) == []


def test_tells_of_no_more_than_so_many() -> None:
    keys = "\n".join("gh" + "p_" + some(ALNUM, 36, seed) for seed in range(2 * MAX_FINDS))
    assert len(find_all(keys.encode(), nobodys)) == MAX_FINDS


HOSTILE = {
    "needles": b"".join(needle for each in FORMATS for needle in each.needles),
    "aws": b"AKIA",
    "aws names": b"aws_secret_access_key = '",
    "github": b"ghp_",
    "long github": b"ghp_" + b"a1B2" * 60,
    "slack": b"xoxb-1",
    "anthropic": b"sk-ant-",
    "dashes": b"sk-ant-api03-" + b"-" * 300,
    "headers": b"-----BEGIN RSA PRIVATE " + b"KEY-----",
    "bodies": b"-----BEGIN RSA PRIVATE " + b"KEY-----" + b"A" * 47 + b"-",
    "digits": b"1234567890:AA",
    "hex": b"deadbeef",
    "zeros": b"\0",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_takes_time_in_proportion_to_size_alone(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """4 MiB of each would not end within the test's deadline if the search were more than linear."""
    monkeypatch.setattr(secret_scan, "MAX_FINDS", 10**9)
    pattern = HOSTILE[kind]
    data = pattern * ((4 << 20) // len(pattern))
    scan([data])


# ---- archives --------------------------------------------------------------------------------------------------------


def test_a_bomb_is_unpacked_no_further_than_allowed() -> None:
    room = Room(1 << 20)
    bomb = gzip.compress(bytes(64 << 20))
    assert sum(len(piece) for _, pieces in members(bomb, room) for piece in pieces) == 1 << 20
    assert [pieces for _, contents in members(bomb, room) for pieces in contents] == []
    assert Room().bytes == MAX_UNPACKED_BYTES


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_reads_streams(pack: Callable[[bytes], bytes]) -> None:
    contents = b"a" * 1_000_000
    data = pack(contents) + pack(b"second")
    assert b"".join(piece for _, pieces in members(data, Room()) for piece in pieces) == contents + b"second"


@pytest.mark.parametrize("cut", [10, 40, 100])
@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, lambda data: zipped({"a": data})])
def test_damaged_archives_end_early(pack: Callable[[bytes], bytes], cut: int) -> None:
    data = pack(b"text " * 1000)
    for broken in (data[:-cut], data[:cut], data[: len(data) // 2] + b"\xff" * 20 + data[len(data) // 2 :]):
        for _, pieces in members(broken, Room()):
            list(pieces)


def test_a_tar_shows_its_members() -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        info = tarfile.TarInfo("key")
        info.size = len(KEYS["GitHub token"])
        archive.addfile(info, io.BytesIO(KEYS["GitHub token"].encode()))
    assert kinds(buffer.getvalue()) == ["GitHub token"]
