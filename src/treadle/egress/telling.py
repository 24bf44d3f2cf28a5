"""Each connection becomes an event, and no flood of connections a flood of events."""

import asyncio

import structlog

from treadle.ports.gateway import Connection, TellConnection

log = structlog.get_logger(__name__)

#: Connections of one run that are told one by one; after them, each that is like none before: another host, port or
#: refusal.
MAX_TOLD = 1_000

#: Different hosts, ports and refusals of one run that are told; after them, only hosts that it has reached before are
#: connected to.
MAX_KINDS = 5_000


class Teller:
    """Tells the run of its connections, one after the other."""

    def __init__(self, tell: TellConnection) -> None:
        self._tell = tell
        self._turn = asyncio.Lock()
        self._kinds: set[tuple[str, int, str | None]] = set()
        self.asked = 0
        self.told = 0

    def takes(self, host: str, port: int) -> bool:
        """Whether a connection there would be told, or one was."""
        return len(self._kinds) < MAX_KINDS or (host, port, None) in self._kinds

    async def tell(self, connection: Connection) -> None:
        """Raises what the run's own side raises: a connection that cannot be told is not to be made."""
        self.asked += 1
        kind = (connection.host, connection.port, connection.refusal)
        is_new = kind not in self._kinds
        if (len(self._kinds) if is_new else self.told) >= (MAX_KINDS if is_new else MAX_TOLD):
            return
        self._kinds.add(kind)
        self.told += 1
        async with self._turn:
            await self._tell(connection)

    def close(self) -> None:
        """Logs what was left untold."""
        if self.asked > self.told:
            log.info("repeated connections of a run were not told one by one", count=self.asked - self.told)
