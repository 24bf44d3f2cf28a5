"""How this service's own requests leave it: the operator's proxies and certificates, as Git has them; and what those
who send them read alike."""

import math
import ssl
from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime

import httpx2

#: Seconds beyond which no wait and no date is believed (the year 9999, as seconds since 1970).
_LATEST = 253_370_764_800


def proxy_for(scheme: str, host: str, environment: Mapping[str, str]) -> str | None:
    """What `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` say, in either case. One without a scheme is an http
    proxy, as it is for Git."""
    said = {name.lower(): value for name, value in environment.items()}
    for entry in said.get("no_proxy", "").split(","):
        name = entry.strip().lower().lstrip(".")
        if name == "*" or (name and (host == name or host.endswith(f".{name}"))):
            return None
    proxy = said.get(f"{scheme}_proxy") or said.get("all_proxy") or None
    return proxy if proxy is None or "://" in proxy else f"http://{proxy}"


def certificates(environment: Mapping[str, str]) -> ssl.SSLContext:
    """What `GIT_SSL_CAINFO`, `SSL_CERT_FILE` and their directories say, else the system's. Raises OSError."""
    file = environment.get("GIT_SSL_CAINFO") or environment.get("SSL_CERT_FILE")
    directory = environment.get("GIT_SSL_CAPATH") or environment.get("SSL_CERT_DIR")
    if file or directory:
        return ssl.create_default_context(cafile=file, capath=directory)
    return httpx2.create_ssl_context(trust_env=False)


def authority(host: str, port: int) -> str:
    """Of a URL; `host` may be an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def untrusted(error: BaseException | None) -> str | None:
    """What is wrong with a certificate, if that is why a request failed."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return error.verify_message.rstrip(".")
        error = error.__cause__ or error.__context__
    return None


def retry_after(text: str, now: datetime) -> float | None:
    """Seconds from now, of a Retry-After in either form (RFC 9110); None when it says nothing that makes sense."""
    if (seconds := number(text)) is not None:
        return seconds if seconds >= 0 else None
    try:
        return max(0.0, (parsedate_to_datetime(text) - now).total_seconds())
    except (ValueError, TypeError, OverflowError):  # no date, or one without its zone
        return None


def number(text: str | None) -> float | None:
    """Of a header that counts seconds; None when it is none, or beyond belief."""
    try:
        found = float(text or "")
    except ValueError:
        return None
    return found if math.isfinite(found) and abs(found) < _LATEST else None
