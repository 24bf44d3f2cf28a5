"""Repositories as rows, and back."""

from uuid import UUID

from treadle.domain.events import JsonObject
from treadle.domain.repository import CheckSuiteSettings, ForgeAccess, ForgeKind, Repository, SetupStatus
from treadle.store.known import loaded, mapping, member, number, numbers_by_name, texts, texts_by_name
from treadle.store.prepared import Row
from treadle.store.tables import repositories
from treadle.store.values import date_of, json_of, micros, plain, policy_json, policy_of, rules_json, rules_of

COLUMNS = (
    repositories.c.id, repositories.c.uuid, repositories.c.organization_id, repositories.c.name, repositories.c.url,
    repositories.c.default_branch, repositories.c.date_created, repositories.c.description, repositories.c.visibility,
    repositories.c.is_archived, repositories.c.language, repositories.c.forge, repositories.c.forge_api_url,
    repositories.c.forge_id, repositories.c.rules, repositories.c.setup_commands, repositories.c.setup_status,
    repositories.c.check_suite_settings, repositories.c.check_names, repositories.c.network,
    repositories.c.scans_secrets, repositories.c.validation,
)  # fmt: skip

#: What `update_repository` changes.
CHANGEABLE = (
    "url", "default_branch", "description", "visibility", "is_archived", "language", "forge", "forge_api_url",
    "forge_id", "rules", "network", "scans_secrets", "validation",
)  # fmt: skip


def changeable(repository: Repository) -> dict[str, object]:
    """By the columns' names, as CHANGEABLE has them."""
    forge = repository.forge
    return {
        "url": plain(repository.url),
        "default_branch": plain(repository.default_branch),
        "description": plain(repository.description),
        "visibility": plain(repository.visibility),
        "is_archived": repository.is_archived,
        "language": plain(repository.language),
        "forge": None if forge is None else forge.kind.value,
        "forge_api_url": None if forge is None else plain(forge.api_url),
        "forge_id": plain(repository.forge_id),
        "rules": plain(repository.rules),
        "network": policy_json(repository.network),
        "scans_secrets": repository.scans_secrets,
        "validation": rules_json(repository.validation),
    }


def whole(repository: Repository) -> dict[str, object]:
    """By the columns' names, all but its id."""
    return {
        **changeable(repository),
        "uuid": str(repository.uuid),
        "organization_id": repository.organization_id,
        "name": plain(repository.name),
        "date_created": micros(repository.date_created),
        "setup_commands": plain(repository.setup_commands),
        "setup_status": repository.setup_status.value,
        "check_suite_settings": settings_json(repository.check_suite_settings),
        "check_names": json_of(repository.check_names),
    }


def repository_of(row: Row) -> Repository:
    (
        id_, uuid, organization_id, name, url, default_branch, created, description, visibility, is_archived, language,
        forge, api_url, forge_id, rules, commands, status, settings, names, network, scans_secrets, validation,
    ) = row  # fmt: skip
    kind = member(ForgeKind, forge)
    return Repository(
        id=id_,
        uuid=UUID(uuid),
        organization_id=organization_id,
        name=name,
        url=url,
        default_branch=default_branch,
        date_created=date_of(created),
        description=description,
        visibility=visibility,
        is_archived=bool(is_archived),
        language=language,
        forge=None if kind is None or api_url is None else ForgeAccess(kind, api_url),
        forge_id=forge_id,
        rules=rules,
        setup_commands=commands,
        setup_status=member(SetupStatus, status) or SetupStatus.NONE,
        check_suite_settings=settings_of(settings),
        check_names=texts(loaded(names)),
        network=policy_of(network),
        scans_secrets=bool(scans_secrets),
        validation=rules_of(validation),
    )


def settings_json(settings: CheckSuiteSettings) -> str | None:
    """None for the defaults: a later version may change them."""
    if settings == CheckSuiteSettings():
        return None
    said: JsonObject = {
        "retry_count": settings.retry_count,
        "ignored_checks": settings.ignored_checks,
        "retry_counts": settings.retry_counts,
        "custom_prompts": settings.custom_prompts,
        "high_priority_apps": settings.high_priority_apps,
    }
    return json_of(said)


def settings_of(text: str | None) -> CheckSuiteSettings:
    said = mapping(loaded(text))
    return CheckSuiteSettings(
        retry_count=number(said.get("retry_count"), CheckSuiteSettings().retry_count),
        ignored_checks=texts(said.get("ignored_checks")),
        retry_counts=numbers_by_name(said.get("retry_counts")),
        custom_prompts=texts_by_name(said.get("custom_prompts")),
        high_priority_apps=texts(said.get("high_priority_apps")),
    )
