"""Where keys stand in a text that is published: all of them, and in one go."""

import re

import pytest

from treadle.domain import secret_formats
from treadle.domain.secret_scan import known_spans
from treadle.redaction import without_known

BODY = "MIIEvgIBADANBgkqhkiG9w0BAQEFAASCBKgwggSkAgEAAoIBAQC7VJTUt9Us8cKj"
PEM = "-----BEGIN PRIVATE" + f" KEY-----\n{BODY}\n"
PUTTY = "PuTTY-User-Key-" + f"File-3: ssh-ed25519\n{BODY}\n"


class Counted:
    """A pattern that counts what is looked for with it."""

    def __init__(self, pattern: re.Pattern[bytes]) -> None:
        self._pattern = pattern
        self.searches = 0

    def search(self, text: bytes, at: int) -> re.Match[bytes] | None:
        self.searches += 1
        return self._pattern.search(text, at)


def test_many_private_keys_without_an_end_are_gone_through_once(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = Counted(secret_formats._BLOCK_ENDS)
    monkeypatch.setattr(secret_formats, "_BLOCK_ENDS", counted)
    text = (PEM * 500).encode()
    assert known_spans(text) == [(PEM.index("\n"), len(text))]
    assert counted.searches == 1


@pytest.mark.parametrize("order", [(PEM, PUTTY), (PUTTY, PEM)])
@pytest.mark.parametrize("end", ["", "-----END \n"])
def test_each_of_two_keys_is_taken_out(order: tuple[str, str], end: str) -> None:
    clean = without_known("".join(f"Before {key}{end}" for key in order))
    assert BODY not in clean
    assert clean.startswith("Before ")
