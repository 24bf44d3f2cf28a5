"""Files, artifacts and events as the code-generation API shows them."""

from treadle.api.json_bytes import date_text, encode
from treadle.domain.events import Event, JsonObject
from treadle.domain.run import Artifact, StoredFile

#: No line breaks to the standard, but to many a client that is written with `splitlines`.
_LINE_BREAKS = (("\x85".encode(), rb"\u0085"), ("\u2028".encode(), rb"\u2028"), ("\u2029".encode(), rb"\u2029"))


def file(stored: StoredFile) -> JsonObject:
    """An uploaded file."""
    return {
        "id": str(stored.id),
        "name": stored.name,
        "contentType": stored.content_type,
        "size": stored.size,
        "sha256": stored.sha256,
        "dateCreated": date_text(stored.date_created),
    }


def artifact(kept: Artifact) -> JsonObject:
    """What a process left; `name` leads to its content."""
    return {
        "name": kept.name,
        "contentType": kept.content_type,
        "size": kept.size,
        "dateCreated": date_text(kept.date_created),
    }


def event(happened: Event) -> JsonObject:
    """An event."""
    return {
        "number": happened.number,
        "type": happened.type,
        "date": date_text(happened.date),
        "step": happened.step,
        "phase": happened.phase,
        "data": happened.data,
    }


def event_frame(happened: Event) -> bytes:
    """An event as a server-sent one. JSON holds no line break, so it is one line of `data`."""
    data = encode(event(happened))
    for character, escape in _LINE_BREAKS:
        data = data.replace(character, escape)
    return b"id: %d\nevent: %b\ndata: %b\n\n" % (happened.number, happened.type.encode(), data)
