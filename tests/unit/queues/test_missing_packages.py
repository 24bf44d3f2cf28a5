"""Without an optional package the error says what to install."""

import subprocess
import sys

import pytest

PROGRAM = """
import asyncio, importlib, sys
sys.modules[{package!r}] = None
from treadle.domain.errors import ConfigurationError, Unavailable
opener = getattr(importlib.import_module({module!r}), {opener!r})

async def main():
    async with opener({url!r}, jitter=float):
        pass

try:
    asyncio.run(main())
except Unavailable:
    raise
except ConfigurationError as error:
    print(error.hint)
"""


@pytest.mark.parametrize(
    ("package", "module", "opener", "url", "extra"),
    [
        ("aio_pika", "treadle.queues.rabbitmq", "open_rabbit", "amqp://127.0.0.1:1/", "rabbitmq"),
        ("psycopg", "treadle.queues.postgres", "open_notifications", "postgresql://127.0.0.1:1/x", "postgres"),
    ],
)
def test_the_extra_is_named(package: str, module: str, opener: str, url: str, extra: str) -> None:
    program = PROGRAM.format(package=package, module=module, opener=opener, url=url)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == f"pip install 'treadle[{extra}]'\n"
