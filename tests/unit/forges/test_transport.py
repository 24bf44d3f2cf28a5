"""Over TLS, at the address that was checked, under the host's own name."""

import ssl
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.support.forge_server import ForgeServer

from treadle.clock import SystemClock
from treadle.domain.errors import ForgeError
from treadle.domain.repository import ForgeAccess, ForgeKind
from treadle.forges.gitea import GiteaForge
from treadle.forges.transport import Transport
from treadle.ports.forges import ForgeRepository

pytestmark = pytest.mark.anyio

HOST = "forge.invalid"  # a name that leads nowhere


def certificate(folder: Path, host: str) -> tuple[Path, Path]:
    """One that vouches for itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "certificate.pem", folder / "key.pem"
    paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return paths


@pytest.fixture
def trusted(tmp_path: Path) -> Path:
    return certificate(tmp_path, HOST)[0]


@pytest.fixture
def forge(trusted: Path) -> Iterator[ForgeServer]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(trusted, trusted.with_name("key.pem"))
    with ForgeServer(ForgeKind.GITEA, tls=context) as server:
        server.add("acme/demo")
        yield server


def at(forge: ForgeServer, host: str = HOST) -> ForgeRepository:
    repository = forge.repository("acme/demo")
    access = ForgeAccess(ForgeKind.GITEA, repository.access.api_url.replace("127.0.0.1", host))
    return replace(repository, access=access)


def client(environment: dict[str, str], *, allow_private_hosts: bool = False) -> GiteaForge:
    return GiteaForge(Transport(SystemClock(), allow_private_hosts=allow_private_hosts, environment=environment))


@pytest.fixture
def leads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Where the name leads, all of it public."""
    addresses = ["::2", "127.0.0.1"]

    async def look_up(host: str, _port: int, *, threads: object = None) -> tuple[str, ...]:
        assert host == HOST
        return tuple(addresses)

    def are_public(found: Sequence[str]) -> bool:
        return list(found) == addresses

    monkeypatch.setattr("treadle.hosts.look_up", look_up)
    monkeypatch.setattr("treadle.hosts.are_public", are_public)
    return addresses


@pytest.mark.usefixtures("leads")
@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "GIT_SSL_CAINFO"])
async def test_connects_to_the_address_that_was_checked(forge: ForgeServer, trusted: Path, variable: str) -> None:
    """There is no other way to find this host."""
    facts = await client({variable: str(trusted)}).facts(at(forge))
    assert facts.forge_id == "101"
    port = forge.api_url.split(":")[2].partition("/")[0]
    assert forge.requests[0].headers["host"] == f"{HOST}:{port}"


async def test_tries_the_next_address(forge: ForgeServer, trusted: Path, leads: list[str]) -> None:
    leads[:] = ["127.0.0.9", "127.0.0.1"]
    assert (await client({"SSL_CERT_FILE": str(trusted)}).facts(at(forge))).forge_id == "101"


@pytest.mark.usefixtures("leads")
async def test_a_certificate_of_nobody(forge: ForgeServer) -> None:
    with pytest.raises(ForgeError, match=rf"certificate of {HOST} is not trusted"):
        await client({}).facts(at(forge))
    assert not forge.requests


async def test_a_certificate_of_another_host(forge: ForgeServer, trusted: Path) -> None:
    with pytest.raises(ForgeError, match=r"certificate of 127\.0\.0\.1 is not trusted"):
        await client({"SSL_CERT_FILE": str(trusted)}, allow_private_hosts=True).facts(at(forge, "127.0.0.1"))
    assert not forge.requests


async def test_a_host_that_there_is_not() -> None:
    repository = ForgeRepository(ForgeAccess(ForgeKind.GITEA, "https://nowhere.invalid/api/v1"), "a/b", "token")
    with pytest.raises(ForgeError, match=r"nowhere\.invalid cannot be found"):
        await client({}).facts(repository)


@pytest.mark.parametrize(
    ("host", "environment"),
    [
        (HOST, {"HTTPS_PROXY": "socks9://user:proxy-word@proxy.invalid"}),
        (HOST, {"SSL_CERT_FILE": "/nowhere/certificates"}),
        (HOST, {"SSL_CERT_FILE": __file__}),
        ("\N{SNOWMAN}" * 80, {}),
    ],
)
async def test_whatever_is_wrong_with_the_way_is_a_forges_error(host: str, environment: dict[str, str]) -> None:
    """It comes when all is pushed: any other error would fail the run."""
    forge = GiteaForge(Transport(SystemClock(), allow_private_hosts=True, environment=environment))
    access = ForgeAccess(ForgeKind.GITEA, f"https://{host}/api/v1")
    with pytest.raises(ForgeError) as told:
        await forge.facts(ForgeRepository(access, "acme/demo", "token-word"))
    assert "word" not in told.value.sentence()
