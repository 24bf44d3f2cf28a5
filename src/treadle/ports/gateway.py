"""The two ways out of a run's box: to its model, and to the hosts that its network policy allows."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from treadle.domain.credentials import EngineCredential, OAuthLicense
from treadle.domain.network import NetworkPolicy
from treadle.domain.prices import Tokens
from treadle.domain.run import EngineName
from treadle.ports.sandbox import Door


@dataclass(frozen=True, slots=True)
class ModelAnswer:
    """One answer of the model API, counted from what it says itself."""

    model: str  # as the answer names it, else as the request did
    tokens: Tokens
    cost_usd: float
    status: int  # HTTP; 0: it broke off before one came
    is_estimated: bool  # it broke off before the API had said what it counts
    duration_ms: int


class Account(Protocol):
    """Who pays for a run's model time. Called for each request; may be called by several at once."""

    async def credential(self) -> EngineCredential:
        """As it is now: a changed one counts from the next request on."""

    async def renewed(self, used: EngineCredential, new: EngineCredential) -> None:
        """The gateway refreshed a license: to be sealed in place of `used`, and of nothing else."""

    async def permit(self, under_way_usd: float = 0.0) -> bool:
        """Before a request is sent on. Raises BudgetExceeded when nothing may be spent any more. `under_way_usd`: what
        it may cost at most, with others that are under way; False: that could pass a budget, so that it waits until one
        of them has ended."""

    async def charge(self, answer: ModelAnswer) -> None:
        """After each answer, however it ended; durable on return. Never raises for a budget that is passed by it: the
        account ends the run itself."""


#: Shows a license's refresh token to its vendor; None: it gave no other. May be cancelled.
Renew = Callable[[], Awaitable[OAuthLicense | None]]


class LicenseRenewals(Protocol):
    """Over all processes that may have the same license."""

    async def once(self, used: OAuthLicense, renew: Renew) -> OAuthLicense | None:
        """What follows a license. At most one process at a time has `renew` called for its refresh token, and none once
        something follows; whoever comes later waits for that and gets it. None: nothing follows, or not in time.
        Raises TreadleError when that cannot be found out; what could not be told to others is given all the same."""


@dataclass(frozen=True, slots=True)
class ModelDoor:
    """Where a run's engine finds its model. `token` is accepted there and nowhere else, until it is closed."""

    door: Door
    token: str = field(repr=False)


class ModelGateway(Protocol):
    """Adds the credential to a run's requests, sends them on, counts the answers."""

    def open(
        self, engine: EngineName, account: Account, *, on_loopback: bool = False
    ) -> AbstractAsyncContextManager[ModelDoor]:
        """For one run. `on_loopback`: listens on the host's own loopback, for sandboxes without a network of their
        own. Leaving ends every request in flight and forgets the token."""

    async def aclose(self) -> None:
        """Lets go of the connections to the model APIs, when no door is open any more."""


@dataclass(frozen=True, slots=True)
class Connection:
    """One that was asked for through the egress proxy. `refusal` None: it was made, to `address`."""

    host: str
    port: int
    address: str | None
    refusal: str | None


#: Told of every connection, made or refused, once.
TellConnection = Callable[[Connection], Awaitable[None]]


class Egress(Protocol):
    """A proxy outside the box for what is inside: the only way to other hosts."""

    def open(self, policy: NetworkPolicy, tell: TellConnection) -> AbstractAsyncContextManager[Path]:
        """For one run; gives the unix socket that it listens on, speaking HTTP proxy (CONNECT and absolute-form).
        Names are looked up here, each address is checked and connected to as it was checked; private, loopback and
        link-local ones never. Leaving ends every connection."""
