"""Which adapter an address chooses, and what is said of one that chooses none."""

import sys
from pathlib import Path

import pytest

from treadle.blobs.directory import DirectoryBlobs
from treadle.blobs.places import BucketPlace, DirectoryPlace, open_blobs, place_of
from treadle.blobs.s3 import S3Blobs
from treadle.domain.errors import ConfigurationError, Unavailable
from treadle.settings import Settings


def settings(tmp_path: Path, **given: str) -> Settings:
    return Settings.load({f"TREADLE_{name}": value for name, value in given.items()}, data_dir=tmp_path / "data")


def test_addresses_name_places(tmp_path: Path) -> None:
    given = settings(tmp_path)
    assert place_of(None, given) == DirectoryPlace(tmp_path / "data" / "blobs")
    assert place_of("file:///srv/my%20files", given) == DirectoryPlace(Path("/srv/my files"))
    assert place_of("s3://bucket", given) == place_of("s3://bucket/", given) == BucketPlace("bucket", "")
    assert place_of("s3://my.bucket-1/a/b_c/", given) == BucketPlace("my.bucket-1", "a/b_c")
    assert [str(place_of(url, given)) for url in ("file:///srv/x", "s3://bucket/", "s3://bucket/a")] == [
        "/srv/x",
        "s3://bucket",
        "s3://bucket/a",
    ]


@pytest.mark.parametrize(
    "url",
    [
        *("", "blobs", "/srv/blobs", "file:", "file://host/srv", "http://host/bucket", "s3:", "s3://", "s3:bucket"),
        *("s3://ab", "s3://Bucket", "s3://bucket:80/a", "s3://bucket/a?b", "s3://bucket/a#b", "s3://bucket/a//b"),
        *("s3://bucket/../other", "s3://bucket/a/.", "s3://bucket/a b", "s3://bucket/ä", "s3://bucket/a%2fb"),
    ],
)
def test_other_addresses_are_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigurationError, match="TREADLE_BLOB_URL") as refused:
        place_of(url, settings(tmp_path))
    assert refused.value.hint is not None


def test_a_key_in_the_address_is_refused_and_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as refused:
        place_of("s3://me:my-secret@bucket/a", settings(tmp_path))
    assert "my-secret" not in refused.value.sentence()
    assert "TREADLE_S3_SECRET_ACCESS_KEY" in refused.value.sentence()


def test_opening_makes_nothing(tmp_path: Path) -> None:
    given = settings(tmp_path, S3_ENDPOINT="https://s3.example.org/")
    assert isinstance(open_blobs(None, given), DirectoryBlobs)
    assert isinstance(open_blobs("s3://bucket/a", given), S3Blobs)
    assert not given.data_dir.exists()


@pytest.mark.parametrize(
    "endpoint",
    [
        *("s3.example.org", "ftp://s3.example.org", "https://", "https://s3.example.org:x", "not an address"),
        *("https://me:my-secret@s3.example.org", "https://s3.example.org/?a", "https://s3.example.örg"),
        *("https://s3.exam ple.org", "https://s3.example.org/a b", "https://{host}"),
    ],
)
def test_an_endpoint_that_cannot_be_one_is_refused(tmp_path: Path, endpoint: str) -> None:
    with pytest.raises(ConfigurationError, match="TREADLE_S3_ENDPOINT") as refused:
        open_blobs("s3://bucket", settings(tmp_path, S3_ENDPOINT=endpoint))
    assert not isinstance(refused.value, Unavailable)
    assert "my-secret" not in refused.value.sentence()


@pytest.mark.parametrize("name", ["S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY"])
def test_half_a_key_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match="Only one of"):
        open_blobs("s3://bucket", settings(tmp_path, **{name: "half"}))


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    for name in ("treadle.blobs.s3", "treadle.blobs.s3_errors", "obstore.store", "obstore.exceptions"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(ConfigurationError) as refused:
        open_blobs("s3://bucket", settings(tmp_path))
    assert refused.value.hint == "pip install 'treadle[s3]'"
    assert isinstance(open_blobs(None, settings(tmp_path)), DirectoryBlobs)
