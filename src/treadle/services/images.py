"""Images that come inside a request, as data URIs: checked, and made files of."""

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from treadle.domain.errors import InvalidInput

#: Images of one prompt.
MAX_IMAGES = 10

_URI = re.compile(r"data:image/(png|jpe?g|gif|webp)(?:;[\w.-]{1,50}=[\w.-]{1,50})*;base64,", re.IGNORECASE | re.ASCII)

#: What a file of each type begins with, and the ending of its name.
_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
_GIFS = (b"GIF87a", b"GIF89a")
_ENDINGS: Mapping[str, str] = {"png": "png", "jpeg": "jpg", "gif": "gif", "webp": "webp"}


@dataclass(frozen=True, slots=True)
class Image:
    name: str
    content_type: str
    data: bytes = field(repr=False)


def read_images(uris: Sequence[str], *, max_bytes: int) -> Sequence[Image]:
    """The images, named `image-1.png` and on. Raises InvalidInput naming every fault (`images[2]`)."""
    if len(uris) > MAX_IMAGES:
        raise InvalidInput({"images": [f"Must have at most {MAX_IMAGES} entries, not {len(uris):,}."]})
    images, faults = list[Image](), dict[str, list[str]]()
    for at, uri in enumerate(uris):
        try:
            images.append(_read(uri, at + 1, max_bytes))
        except ValueError as error:
            faults[f"images[{at}]"] = [str(error)]
    if faults:
        raise InvalidInput(faults)
    return images


def _read(uri: str, number: int, max_bytes: int) -> Image:
    head = _URI.match(uri)
    if head is None:
        raise ValueError("Must be a data URI of a PNG, JPEG, GIF or WebP image, in base64.")
    kind = head[1].lower().replace("jpg", "jpeg")
    try:
        data = base64.b64decode("".join(uri[head.end() :].split()), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("Is not base64.") from None
    if len(data) > max_bytes:
        raise ValueError(f"An image may hold at most {max_bytes:,} bytes.")
    found = _kind_of(data)
    if found != kind:
        is_a = f"is {found.upper()}" if found is not None else "is no image that is known here"
        raise ValueError(f"Says that it is {kind.upper()}, and {is_a}.")
    return Image(f"image-{number}.{_ENDINGS[kind]}", f"image/{kind}", data)


def _kind_of(data: bytes) -> str | None:
    if data.startswith(_PNG):
        return "png"
    if data.startswith(_JPEG):
        return "jpeg"
    if data.startswith(_GIFS):
        return "gif"
    return "webp" if data[:4] == b"RIFF" and data[8:12] == b"WEBP" else None
