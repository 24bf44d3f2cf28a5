"""What is sealed piece by piece opens whole, for its row, or not at all."""

import io
from collections.abc import Callable
from uuid import UUID

import pytest

from treadle.domain.errors import SealBroken, SealKeyMissing
from treadle.vault import AesGcmVault, ArchiveSealer, SealingKey, open_archive
from treadle.vault.aes_gcm import TAG_BYTES

PIECE = 1 << 20
VAULT = AesGcmVault([SealingKey(bytes(32))])
HOME = UUID(int=1)


def sealed(clear: bytes, *, vault: AesGcmVault = VAULT, at_a_time: int = 300_000) -> bytes:
    target = io.BytesIO()
    sealer = ArchiveSealer(target, vault, organization=HOME, table="t", row="r")
    for start in range(0, len(clear), at_a_time):
        sealer.write(clear[start : start + at_a_time])
    sealer.close()
    return target.getvalue()


def opened(
    archive: bytes, *, vault: AesGcmVault = VAULT, organization: UUID = HOME, table: str = "t", row: str = "r"
) -> bytes:
    target = io.BytesIO()
    open_archive(io.BytesIO(archive), target, vault, organization=organization, table=table, row=row)
    return target.getvalue()


@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE, 3 * PIECE + 7])
def test_it_opens_as_it_was(size: int) -> None:
    clear = bytes(at % 251 for at in range(1000)) * (size // 1000 + 1)
    archive = sealed(clear[:size])
    assert opened(archive) == clear[:size]
    assert clear[:16] not in archive or size < 16


def test_the_same_is_never_sealed_alike() -> None:
    assert sealed(b"secret")[-22:] != sealed(b"secret")[-22:]


@pytest.mark.parametrize("other", [{"organization": UUID(int=2)}, {"table": "u"}, {"row": "s"}])
def test_it_opens_for_its_row_alone(other: dict[str, str]) -> None:
    with pytest.raises(SealBroken):
        opened(sealed(b"secret"), **other)  # type: ignore[arg-type]  # one dictionary for two types


def test_without_its_key_it_stays_shut() -> None:
    with pytest.raises(SealKeyMissing):
        opened(sealed(b"secret"), vault=AesGcmVault([SealingKey(bytes([1]) * 32)]))


def _parts(archive: bytes) -> tuple[bytes, list[bytes]]:
    line, end, body = archive.partition(b"\n")
    size = PIECE + TAG_BYTES
    return line + end, [body[start : start + size] for start in range(0, len(body), size)]


def _flipped(archive: bytes) -> bytes:
    return archive[:-1] + bytes([archive[-1] ^ 1])


def _without_the_last(archive: bytes) -> bytes:
    line, pieces = _parts(archive)
    return line + b"".join(pieces[:-1])


def _without_the_first(archive: bytes) -> bytes:
    line, pieces = _parts(archive)
    return line + b"".join(pieces[1:])


def _swapped(archive: bytes) -> bytes:
    line, (first, second, *others) = _parts(archive)
    return line + second + first + b"".join(others)


def _with_the_last_twice(archive: bytes) -> bytes:
    return archive + _parts(archive)[1][-1]


def _of_two(archive: bytes) -> bytes:
    line, pieces = _parts(archive)
    return line + b"".join(pieces[:-1]) + _parts(sealed(bytes(4 * PIECE)))[1][-1]


@pytest.mark.parametrize(
    "change",
    [
        *(_flipped, _without_the_last, _without_the_first, _swapped, _with_the_last_twice, _of_two),
        lambda archive: archive[:-1],
        lambda archive: archive + b"x",
        lambda archive: archive.partition(b"\n")[0] + b"\n",
        lambda _: b"",
        lambda _: b"ustar archive\n" * 100,
        lambda _: b"\xff" * 5000,
    ],
)
def test_what_was_changed_does_not_open(change: Callable[[bytes], bytes]) -> None:
    with pytest.raises(SealBroken):
        opened(change(sealed(bytes(4 * PIECE))))
