"""What `treadle admin audit` does."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime

from treadle.cli import output
from treadle.cli.administration import do, show_many
from treadle.cli.lines import when
from treadle.domain.errors import InvalidInput
from treadle.factory import Parts
from treadle.ports.trust import AuditEntry
from treadle.services.audit import Wanted


@dataclass(frozen=True, slots=True)
class AuditAdministration:
    """One command's work."""

    is_json: bool

    def list(self, organization: int | None, wanted: Wanted) -> None:
        """None: of all organizations, and of the service itself."""

        async def work(parts: Parts) -> tuple[AuditEntry, ...]:
            found, _ = await parts.services.audit.read(organization, wanted)
            return tuple(found)

        found = do(work)
        if self.is_json:
            output.as_json([_whole(entry) for entry in found])
        else:
            show_many(
                [
                    {
                        "id": entry.id,
                        "date": when(entry.date),
                        "org": entry.organization_id,
                        "actor": entry.actor,
                        "action": entry.action,
                        "target": entry.target,
                        "door": entry.door,
                        "address": entry.address,
                        "detail": json.dumps(dict(entry.detail)) if entry.detail else None,
                    }
                    for entry in found
                ],
                is_json=False,
            )


def since_of(text: str | None) -> datetime | None:
    """A date or a date and time, in UTC where nothing else is said. Raises InvalidInput."""
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
        return found.astimezone(UTC) if found.tzinfo is not None else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise InvalidInput({"--since": ["must be a date, such as 2026-11-01, or a date and time"]}) from None


def _whole(entry: AuditEntry) -> dict[str, object]:
    return {
        "id": entry.id,
        "date": when(entry.date),
        "organizationId": entry.organization_id,
        "userId": entry.user_id,
        "actor": entry.actor,
        "action": entry.action,
        "target": entry.target,
        "detail": dict(entry.detail),
        "door": entry.door,
        "address": entry.address,
    }
