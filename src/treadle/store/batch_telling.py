"""What webhooks are told of a batch."""

from datetime import datetime

from treadle.domain.batch import Batch
from treadle.domain.events import JsonObject, clip
from treadle.domain.messages import MAX_MESSAGE_TEXT, MessageType
from treadle.store.outbox import tell_batch
from treadle.store.session import Session


def tell(session: Session, batch: Batch, number: int, type_: MessageType, now: datetime) -> None:
    """In the transaction that begins or ends it. `number`: of its event."""
    counts, details = batch.counts, batch.failure_details
    said: JsonObject = {
        "id": batch.id,
        "uuid": str(batch.uuid),
        "name": batch.name,
        "status": batch.status,
        "failureDetails": None if details is None else clip(details, MAX_MESSAGE_TEXT)[0],
        "attempt": batch.attempt,
        "counts": {
            "items": counts.items,
            "succeeded": counts.succeeded,
            "failed": counts.failed,
            "killed": counts.killed,
            "skipped": counts.skipped,
        },
        "costUsd": batch.cost_usd,
        "dateCreated": batch.date_created.isoformat(),
        "dateCompleted": batch.date_completed.isoformat() if batch.date_completed is not None else None,
    }
    tell_batch(session, batch.organization_id, batch.id, number, type_, {"batch": said}, now)
