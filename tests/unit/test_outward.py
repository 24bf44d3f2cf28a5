"""By which way the service's own requests leave."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from treadle.outward import authority, certificates, proxy_for, retry_after


@pytest.mark.parametrize(
    ("environment", "proxy"),
    [
        ({}, None),
        ({"HTTPS_PROXY": "http://proxy:1"}, "http://proxy:1"),
        ({"HTTPS_PROXY": "user:word@proxy:1"}, "http://user:word@proxy:1"),
        ({"https_proxy": "http://proxy:1", "all_proxy": "http://proxy:2"}, "http://proxy:1"),
        ({"ALL_PROXY": "http://proxy:2", "HTTP_PROXY": "http://proxy:3"}, "http://proxy:2"),
        ({"HTTPS_PROXY": "http://proxy:1", "NO_PROXY": "other.example, .example.org"}, None),
        ({"HTTPS_PROXY": "http://proxy:1", "NO_PROXY": "git.example.org"}, None),
        ({"HTTPS_PROXY": "http://proxy:1", "NO_PROXY": "*"}, None),
        ({"HTTPS_PROXY": "http://proxy:1", "NO_PROXY": "it.example.org,"}, "http://proxy:1"),
    ],
)
def test_the_way_out(environment: dict[str, str], proxy: str | None) -> None:
    assert proxy_for("https", "git.example.org", environment) == proxy


def test_certificates_that_are_named_and_not_there(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        certificates({"SSL_CERT_FILE": str(tmp_path / "none.pem")})
    assert certificates({}).verify_mode.name == "CERT_REQUIRED"


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("120", 120.0),
        ("0", 0.0),
        ("Sun, 06 Nov 1994 08:50:37 GMT", 60.0),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 0.0),
        ("Sun, 06 Nov 1994 08:48:37 GMT", 0.0),
        ("Sun, 06 Nov 1994 08:50:37", None),  # of no zone
        ("", None),
        ("soon", None),
        ("-1", None),
        ("nan", None),
        ("inf", None),
        ("1e300", None),
    ],
)
def test_what_a_retry_after_says(said: str, seconds: float | None) -> None:
    assert retry_after(said, datetime(1994, 11, 6, 8, 49, 37, tzinfo=UTC)) == seconds


def test_an_authority_is_one_of_a_url() -> None:
    assert authority("git.example", 443) == "git.example:443"
    assert authority("2001:db8::1", 443) == "[2001:db8::1]:443"
