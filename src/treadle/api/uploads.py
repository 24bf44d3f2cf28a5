"""One uploaded file in a multipart form, passed on as it arrives: it is never whole in memory, nor twice on disk."""

from collections import deque
from collections.abc import AsyncIterator

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from treadle.api.problems import Problem, ProblemRaised
from treadle.domain.errors import InvalidInput

FIELD = "file"

#: Bytes that may follow a form's end, for nothing.
MAX_AFTER_END = 64 * 1024


class UploadedFile:
    """Use: `await open()`, then `name` and `content_type` are known; then read `data()` to its end."""

    def __init__(self, request: Request) -> None:
        """Raises ProblemRaised (415) for another content type."""
        kind, parameters = parse_options_header(request.headers.get("content-type"))
        boundary = parameters.get(b"boundary", b"")
        if kind != b"multipart/form-data" or not boundary:
            detail = f"This takes multipart/form-data with one file, in the field '{FIELD}'."
            raise ProblemRaised(Problem(415, "unsupported_media_type", detail))
        self.name = ""
        self.content_type: str | None = None
        self._chunks = aiter(request.stream())
        self._form = _Form(boundary)

    async def open(self) -> None:
        """Reads up to the file's first byte. Raises InvalidInput when there is no file."""
        while not self._form.is_file_found:
            if not await self._feed():
                raise _fault("There must be a file in this field.")
        self.name, self.content_type = self._form.name, self._form.content_type

    async def data(self) -> AsyncIterator[bytes]:
        """The file's bytes. Raises InvalidInput for a form that breaks off, or holds more than the file."""
        while True:
            while self._form.data:
                yield self._form.data.popleft()
            if not await self._feed():
                break
        if not self._form.is_complete:
            raise _fault("The form breaks off before its end.")

    async def _feed(self) -> bool:
        chunk = await anext(self._chunks, None)
        if chunk is None:
            return False
        try:
            self._form.write(chunk)
        except FormParserError:
            raise _fault("The form cannot be read.") from None
        return True


class _Form:
    """The parser's events, reduced to the one file."""

    def __init__(self, boundary: bytes) -> None:
        self.name = ""
        self.content_type: str | None = None
        self.is_file_found = False
        self.is_complete = False
        self.data: deque[bytes] = deque()
        self._after_end = 0
        self._headers: dict[str, str] = {}
        self._header = [b"", b""]
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._headers.clear,
                    "on_header_begin": self._begin_header,
                    "on_header_field": self._add_name,
                    "on_header_value": self._add_value,
                    "on_header_end": self._end_header,
                    "on_headers_finished": self._begin_part,
                    "on_part_data": self._add_data,
                    "on_end": self._end,
                },
            )
        except FormParserError:
            raise _fault("The form cannot be read.") from None

    def write(self, chunk: bytes) -> None:
        """Raises FormParserError, and InvalidInput for a part that is not the file, and a form that has no end."""
        if chunk and not self.is_complete:  # what follows the end is no part of the form
            self._parser.write(chunk)
        elif chunk:
            self._after_end += len(chunk)
            if self._after_end > MAX_AFTER_END:
                raise _fault("Much follows the form's end.")

    def _begin_header(self) -> None:
        self._header = [b"", b""]

    def _add_name(self, data: bytes, start: int, end: int) -> None:
        self._header[0] += data[start:end]

    def _add_value(self, data: bytes, start: int, end: int) -> None:
        self._header[1] += data[start:end]

    def _end_header(self) -> None:
        # Browsers send names of files in UTF-8.
        name, value = (part.decode(errors="replace") for part in self._header)
        self._headers[name.lower()] = value

    def _begin_part(self) -> None:
        options = _options(self._headers.get("content-disposition", ""))
        field = options.get("name", "")
        if field != FIELD:
            raise InvalidInput({field[:100] or "$": [f"There is only one field here: '{FIELD}'."]})
        if self.is_file_found:
            raise _fault("There must be one file only.")
        self.name, self.content_type = options.get("filename", ""), self._headers.get("content-type")
        self.is_file_found = True

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        self.data.append(data[start:end])

    def _end(self) -> None:
        self.is_complete = True


def _options(disposition: str) -> dict[str, str]:
    """The parser works on Latin-1; so the UTF-8 is carried through it byte by byte."""
    _, options = parse_options_header(disposition.encode().decode("latin-1"))
    return {key.decode("latin-1"): value.decode(errors="replace") for key, value in options.items()}


def _fault(said: str) -> InvalidInput:
    return InvalidInput({FIELD: [said]})
