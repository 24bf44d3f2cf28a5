"""What `treadle admin repo` does."""

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from treadle.cli import output
from treadle.cli.administration import Record, do, show_fields, show_many, show_one, show_text
from treadle.cli.failures import Stopped
from treadle.cli.lines import when
from treadle.cli.output import FAILED
from treadle.cli.repository_reach import RepositoryReach, forge_of
from treadle.cli.steps import read_text
from treadle.domain.credentials import GitCredentials
from treadle.domain.errors import ForgeError, GitError, InvalidInput
from treadle.domain.network import NetworkPolicy
from treadle.domain.repository import ForgeKind, Repository
from treadle.domain.validation import ValidationRules
from treadle.factory import Parts
from treadle.services.repository_change import RepositoryChange
from treadle.services.repository_reach import Inspection
from treadle.services.setup_results import setup_results_of

#: The latest executions of setup commands that are listed.
SHOWN_SANDBOXES = 20


@dataclass(frozen=True, slots=True)
class Registration:
    """What the options of `add` and `update` say. None: nothing."""

    url: str | None = None
    default_branch: str | None = None
    http: str | None = field(default=None, repr=False)
    ssh_key: Path | None = None
    forge: ForgeKind | None = None
    forge_api_url: str | None = None
    forge_token: str | None = field(default=None, repr=False)
    description: str | None = None
    visibility: str | None = None
    language: str | None = None
    is_archived: bool | None = None
    is_bare: bool = False  # without any credentials
    is_without_forge: bool = False
    network: NetworkPolicy | None = None
    is_without_network: bool = False  # of its own
    scans_secrets: bool | None = None
    validation: ValidationRules | None = None
    is_without_validation: bool = False

    def change(self, known_url: str = "") -> RepositoryChange:
        """`known_url`: the address where none is given. Raises InvalidInput when the options contradict or an address
        cannot be read, ConfigurationError for a key that cannot be."""
        git = GitCredentials(http=self.http, ssh_key=_key(self.ssh_key))
        is_given = git != GitCredentials()
        if self.is_bare and is_given:
            raise InvalidInput({"--no-credentials": ["give it, or credentials, not both"]}, "The options contradict.")
        if self.is_without_forge and (self.forge or self.forge_api_url or self.forge_token):
            raise InvalidInput({"--no-forge": ["give it, or a forge, not both"]}, "The options contradict.")
        names_forge = any(each is not None for each in (self.url, self.forge, self.forge_api_url))
        forge = (
            forge_of(self.url or known_url, self.forge, self.forge_api_url)
            if names_forge and not self.is_without_forge
            else None
        )
        return RepositoryChange(
            url=self.url,
            default_branch=self.default_branch,
            git=git if self.is_bare or is_given else None,
            forge=forge,
            is_without_forge=self.is_without_forge,
            forge_token="" if self.is_without_forge else self.forge_token,
            description=self.description,
            visibility=self.visibility,
            language=self.language,
            is_archived=self.is_archived,
            network=self.network,
            is_without_network=self.is_without_network,
            scans_secrets=self.scans_secrets,
            validation=self.validation,
            is_without_validation=self.is_without_validation,
        )


@dataclass(frozen=True, slots=True)
class RepositoryAdministration:
    """One command's work on one organization's repositories."""

    organization: int
    is_json: bool = False

    def add(self, name: str, url: str, given: Registration, *, is_checked: bool) -> None:
        change = replace(given, url=url).change()

        async def work(parts: Parts) -> Repository:
            owner = await parts.services.identity.organization(self.organization)
            return await parts.services.repositories.add(
                owner,
                name=name,
                url=url,
                default_branch=change.default_branch,
                git=change.git,
                forge=change.forge,
                forge_token=change.forge_token,
                reach=RepositoryReach(parts.settings, parts.clock) if is_checked else None,
            )

        show_one(_record(_looked(work)), is_json=self.is_json)

    def update(self, name: str, given: Registration, *, is_checked: bool) -> None:
        if given == Registration():
            raise InvalidInput({"--url": ["is one of the things that can change"]}, "Nothing is to change.")

        async def work(parts: Parts) -> Repository:
            owner = await parts.services.identity.organization(self.organization)
            change = given.change((await parts.services.repositories.named(owner.id, name)).url)
            reach = RepositoryReach(parts.settings, parts.clock) if is_checked else None
            return await parts.services.repositories.update(owner, name, change, reach=reach)

        show_one(_record(_looked(work)), is_json=self.is_json)

    def remove(self, name: str) -> None:
        async def work(parts: Parts) -> None:
            await parts.services.identity.organization(self.organization)
            removed = await parts.services.repositories.named(self.organization, name)
            await parts.services.repositories.remove(self.organization, name)
            await parts.blobs.delete_prefix(setup_results_of(removed.uuid))

        do(work)

    def list(self) -> None:
        async def work(parts: Parts) -> Sequence[Repository]:
            await parts.services.identity.organization(self.organization)
            return await parts.services.repositories.list(self.organization)

        show_many([_record(found) for found in do(work)], is_json=self.is_json)

    def show(self, name: str) -> None:
        async def work(parts: Parts) -> Record:
            owner = await parts.services.identity.organization(self.organization)
            found = await parts.services.repositories.named(owner.id, name)
            return _settings_of(found, is_default=owner.default_repository_id == found.id)

        show_fields(do(work), is_json=self.is_json)

    def check(self, name: str) -> None:
        """Raises Stopped when something is not as it should be."""

        async def work(parts: Parts) -> Inspection:
            owner = await parts.services.identity.organization(self.organization)
            return await parts.services.repositories.check(owner, name, RepositoryReach(parts.settings, parts.clock))

        found = do(work).findings
        records: list[Record] = [
            {"part": each.part, "level": "OK" if each.error is None else "Problem", "found": each.said}
            for each in found
        ]
        show_many(records, is_json=self.is_json)
        if any(each.error is not None for each in found):
            raise Stopped(FAILED)

    def rules(self, name: str, text: str | None) -> None:
        """None: shows them; an empty text takes them away."""

        async def work(parts: Parts) -> str | None:
            owner = await parts.services.identity.organization(self.organization)
            if text is None:
                return (await parts.services.repositories.named(owner.id, name)).rules
            changed = await parts.services.repositories.update(owner, name, RepositoryChange(rules=text))
            return changed.rules

        show_text("rules", do(work), is_json=self.is_json)

    # ---- setup commands ----------------------------------------------------------------------------------------------

    def setup(self, name: str, text: str | None) -> None:
        """None: shows them; an empty text takes them away."""

        async def work(parts: Parts) -> str | None:
            await parts.services.identity.organization(self.organization)
            if text is not None:
                await parts.services.repositories.set_setup(self.organization, name, text)
            return (await parts.services.repositories.named(self.organization, name)).setup_commands

        show_text("commands", do(work), is_json=self.is_json)

    def list_sandboxes(self, name: str) -> None:
        async def work(parts: Parts) -> Sequence[Record]:
            found = await parts.services.repositories.named(self.organization, name)
            return [
                {
                    "id": each.id,
                    "run": each.run_id,
                    "status": each.status,
                    "exit": each.exit_code,
                    "created": when(each.date_created),
                    "completed": when(each.date_completed) if each.date_completed is not None else None,
                    "log": each.log_blob is not None,
                }
                for each in await parts.store.sandboxes(found.id, limit=SHOWN_SANDBOXES)
            ]

        show_many(do(work), is_json=self.is_json)

    def setup_log(self, sandbox_id: int) -> None:
        async def work(parts: Parts) -> str | None:
            found = await parts.store.sandbox(self.organization, sandbox_id)
            if found.log_blob is None:
                return None
            return (await parts.blobs.get(found.log_blob)).decode(errors="replace")

        text = do(work)
        if text is None:
            output.note("There is no log of it.")
        show_text("log", text, is_json=self.is_json)


def _looked(work: Callable[[Parts], Awaitable[Repository]]) -> Repository:
    """`do`, which says how to do it all the same."""
    try:
        return do(work)
    except (GitError, ForgeError) as error:
        error.add_note("Nothing is kept; with --no-check it is.")
        raise


def _key(path: Path | None) -> str | None:
    return read_text(path.expanduser()) if path is not None else None


def _record(found: Repository) -> Record:
    return {
        "id": found.id,
        "uuid": str(found.uuid),
        "name": found.name,
        "url": found.url,
        "branch": found.default_branch,
        "created": when(found.date_created),
        "forge": found.forge.kind if found.forge is not None else None,
    }


def _settings_of(found: Repository, *, is_default: bool) -> Record:
    return {
        **_record(found),
        "forgeApiUrl": found.forge.api_url if found.forge is not None else None,
        "forgeId": found.forge_id,
        "description": found.description,
        "visibility": found.visibility,
        "language": found.language,
        "archived": found.is_archived,
        "default": is_default,
        "setup": found.setup_status,
        "network": str(found.network) if found.network is not None else None,
        "scansSecrets": found.scans_secrets,
        "validate": json.dumps(found.validation.json()) if found.validation is not None else None,
        "rules": found.rules,
    }
