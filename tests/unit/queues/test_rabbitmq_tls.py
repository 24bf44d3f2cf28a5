"""RabbitMQ by TLS, with an authority of one's own."""

import datetime as dt
import ipaddress
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tests.support.clis import give_up
from tests.support.ports import ReservedPort
from tests.support.rabbit import PASSWORD, USER, NoRabbit, running_rabbit

from treadle.domain.errors import ConfigurationError, Unavailable
from treadle.queues.rabbitmq import open_rabbit

pytestmark = [pytest.mark.anyio, pytest.mark.rabbitmq]

LONG = 60.0


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of 127.0.0.1, signed by itself; the key beside it."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "broker of a test")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "certificate.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder / "certificate.pem"


@pytest.fixture(scope="module")
def tls_url(certificate: Path) -> Iterator[str]:
    with ReservedPort() as port:
        settings = {
            "listeners.ssl.1": f"127.0.0.1:{port.number}",
            "ssl_options.certfile": str(certificate),
            "ssl_options.cacertfile": str(certificate),
            "ssl_options.keyfile": str(certificate.with_name("key.pem")),
        }
        try:
            with running_rabbit(settings=settings):
                yield f"amqps://{USER}:{PASSWORD}@127.0.0.1:{port.number}/%2F"
        except NoRabbit as error:
            give_up(str(error))


async def test_hints_go_by_tls(tls_url: str, certificate: Path) -> None:
    async with open_rabbit(f"{tls_url}?cafile={certificate}", jitter=float) as parts:
        await parts.queue.announce(1)
        hint = await parts.queue.take(LONG)
        assert hint is not None
        assert hint.run_id == 1
        await hint.settle()


async def test_an_unknown_authority_is_a_matter_of_configuration(tls_url: str) -> None:
    with pytest.raises(ConfigurationError, match="CERTIFICATE_VERIFY_FAILED") as raised:
        async with open_rabbit(tls_url, jitter=float):
            pass
    assert not isinstance(raised.value, Unavailable)
    assert PASSWORD not in raised.value.sentence()
