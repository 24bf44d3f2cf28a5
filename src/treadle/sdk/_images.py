"""Images, as the agent-run API takes them: data URIs."""

import base64
import re
from collections.abc import Iterable
from mimetypes import guess_type
from os import PathLike, fspath
from pathlib import Path
from typing import TypeAlias

#: An image: its bytes, the path of its file, or a data URI.
Image: TypeAlias = bytes | str | PathLike[str]

#: How files of these types begin.
_BEGINNINGS = (
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "image/png"),
    (re.compile(rb"\xff\xd8\xff"), "image/jpeg"),
    (re.compile(rb"GIF8[79]a"), "image/gif"),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "image/webp"),
)


def data_uris(images: Iterable[Image]) -> list[str]:
    """Raises ValueError for what is no image that can be recognized, TypeError for a single one, OSError for a file
    that cannot be read."""
    if isinstance(images, bytes | str | PathLike):
        raise TypeError("images must be a list of images, not a single one.")
    return [_data_uri(image) for image in images]


def _data_uri(image: Image) -> str:
    if isinstance(image, bytes):
        return _encoded(image, _type_of(image), "an image")
    name = fspath(image)
    if name[:5].lower() == "data:":
        return name
    content = Path(name).read_bytes()
    return _encoded(content, _type_of(content) or guess_type(name)[0], name)


def _type_of(content: bytes) -> str | None:
    return next((kind for beginning, kind in _BEGINNINGS if beginning.match(content)), None)


def _encoded(content: bytes, kind: str | None, what: str) -> str:
    if kind is None or not kind.startswith("image/"):
        raise ValueError(f"{what} is not of a type that is recognized. Give it as a data URI, data:image/…;base64,….")
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
