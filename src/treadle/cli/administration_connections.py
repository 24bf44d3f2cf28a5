"""What `treadle admin mcp`, `oauth` and `connect` do."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from treadle.cli.administration import Record, do, show_many, show_one
from treadle.cli.lines import when
from treadle.cli.steps import read_text
from treadle.domain.errors import InvalidInput, NotFound
from treadle.domain.events import JsonObject
from treadle.domain.identity import OAuthProvider
from treadle.factory import Parts
from treadle.ports.directory import Connection
from treadle.services.connections import Connections, NewProvider

#: Between the scopes that are shown.
_GAP: Final = " "


@dataclass(frozen=True, slots=True)
class ConnectionAdministration:
    """One command's work."""

    is_json: bool

    def add_provider(self, new: NewProvider) -> None:
        show_one(_provider(do(lambda parts: _connections(parts).add_provider(new))), is_json=self.is_json)

    def list_providers(self) -> None:
        found = do(lambda parts: _connections(parts).providers())
        show_many([_provider(each) for each in found], is_json=self.is_json)

    def remove_provider(self, name: str) -> None:
        do(lambda parts: _connections(parts).remove_provider(name))

    def put_token(self, email: str, organization: int, provider: str, token: str) -> None:
        async def work(parts: Parts) -> None:
            user, _ = await parts.services.identity.member(email, organization)
            principal = await parts.store.principal_in(organization, user.id)
            if principal is None:  # taken away at this moment
                raise NotFound(f"The user is not a member of organization {organization}.")
            await _connections(parts).put_token(principal, provider, token)

        do(work)

    def connect(self, token: str, provider: str, account: str) -> None:
        show_one(
            _connection(do(lambda parts: _connections(parts).redeem(token, provider, account))),
            is_json=self.is_json,
        )


def _connections(parts: Parts) -> Connections:
    return parts.services.connections


def read_meta(path: Path | None) -> JsonObject | None:
    """A JSON object in a file. Raises InvalidInput, ConfigurationError."""
    if path is None:
        return None
    try:
        found = json.loads(read_text(path.expanduser()))
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise InvalidInput({"--meta": ["must name a file that holds a JSON object"]}, "The provider cannot be added.")
    return found


def _provider(found: OAuthProvider) -> Record:
    return {
        "id": found.id,
        "name": found.name,
        "issuer": found.issuer,
        "authorizationEndpoint": found.authorization_endpoint,
        "tokenEndpoint": found.token_endpoint,
        "scopes": _GAP.join(found.default_scopes) if found.default_scopes is not None else None,
        "mcp": found.is_mcp,
        "created": when(found.date_created),
    }


def _connection(found: Connection) -> Record:
    return {
        "provider": found.provider,
        "account": found.account,
        "user": found.user_id,
        "created": when(found.date_created),
    }
