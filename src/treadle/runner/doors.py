"""What a claimed run's commands may reach: the doors in the walls of its box, and what its engine is told of them."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace

from treadle.domain.credentials import EngineCredential, OAuthLicense
from treadle.domain.errors import EngineRefused
from treadle.domain.events import Draft, EventType, JsonValue
from treadle.domain.network import NetworkMode, NetworkPolicy
from treadle.domain.run import EngineName
from treadle.ports import Sandbox
from treadle.ports.gateway import Account, Connection, Egress, ModelDoor, ModelGateway
from treadle.ports.sandbox import Door
from treadle.services.progress import Progress
from treadle.services.secrets import EngineChoice

#: Where the egress proxy is, on the loopback inside a box.
PROXY_PORT = 8419

_PROXY = f"http://127.0.0.1:{PROXY_PORT}"
_NOT_PROXIED = "127.0.0.1,localhost,::1"
_PROXY_ENVIRONMENT: Mapping[str, str] = {
    **{name: _PROXY for upper in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY") for name in (upper, upper.lower())},
    **dict.fromkeys(("NO_PROXY", "no_proxy"), _NOT_PROXIED),
}

#: What follows the address of the OpenAI-compatible API.
_PATHS = {EngineName.KIMI: "/v1"}


@dataclass(frozen=True, slots=True)
class Doors:
    """`environment` tells commands where the proxy is; `model` None: the run's engine asks no model."""

    others: tuple[Door, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    model: ModelDoor | None = None

    @property
    def of_engine(self) -> tuple[Door, ...]:
        """Those of an engine's call; setup commands have `others` alone."""
        return (self.model.door, *self.others) if self.model is not None else self.others

    def stand_in(self, chosen: EngineChoice) -> EngineChoice:
        """The same choice with what is known inside: the gateway's address and a token in the credential's place.
        Raises EngineRefused where there is no gateway: what was allowed when the run was made, with the Dummy engine's
        key or under another policy, may have changed, and nothing lets a real credential in."""
        if chosen.engine.name is EngineName.DUMMY:
            return chosen
        if self.model is None:
            raise EngineRefused(
                f"The run's network policy is '{NetworkMode.NONE}', and {chosen.engine.name} needs its model.",
                hint=f"Start a run whose policy is '{NetworkMode.MODEL}' at least.",
            )
        token = self.model.token
        is_license = chosen.credential.license is not None and chosen.credential.api_key is None
        inside = EngineCredential(
            chosen.credential.source,
            api_key=None if is_license else token,
            license=OAuthLicense(access_token=token) if is_license else None,
        )
        address = f"http://127.0.0.1:{self.model.door.port}{_PATHS.get(chosen.engine.name, '')}"
        return replace(chosen, credential=inside, endpoint=address)


@asynccontextmanager
async def opened(
    engine: EngineName,
    policy: NetworkPolicy,
    *,
    account: Account,
    gateway: ModelGateway,
    egress: Egress,
    sandbox: Sandbox,
    progress: Progress,
) -> AsyncIterator[Doors]:
    """For one claimed run; says in its trace what holds for it."""
    said = {"policy": policy.json(), "isEnforced": sandbox.confines_network}
    await progress.note(Draft(EventType.NETWORK_POLICY, said))
    async with AsyncExitStack() as stack:
        model = None
        if engine is not EngineName.DUMMY and policy.mode is not NetworkMode.NONE:
            is_open = not sandbox.confines_network
            model = await stack.enter_async_context(gateway.open(engine, account, on_loopback=is_open))
        if not policy.has_proxy or not sandbox.confines_network:
            yield Doors(model=model)
            return

        async def tell(connection: Connection) -> None:
            await progress.note(_told(connection))

        socket = await stack.enter_async_context(egress.open(policy, tell))
        yield Doors((Door(PROXY_PORT, socket),), _PROXY_ENVIRONMENT, model)


def _told(connection: Connection) -> Draft:
    place: dict[str, JsonValue] = {"host": connection.host, "port": connection.port}
    if connection.refusal is not None:
        return Draft(EventType.NETWORK_REFUSED, {**place, "reason": connection.refusal})
    return Draft(EventType.NETWORK_CONNECTED, {**place, "address": connection.address})
