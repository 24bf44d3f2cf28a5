"""How one thing is asked of a forge: within a deadline and a bound, and with as much patience as a rate limit or a
restart deserves."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import TypeVar
from urllib.parse import urljoin, urlsplit

import httpx2
import structlog
from pydantic import JsonValue, TypeAdapter

from treadle import outward
from treadle.domain.errors import ForgeError
from treadle.forges.addresses import Place, place_of
from treadle.forges.answers import Answer, Refused, Unsure, last_page_of, pause_of, refusal, wait_of
from treadle.forges.reading import Read, end, whole
from treadle.ports import Clock

T = TypeVar("T")

log = structlog.get_logger(__name__)

#: Longest time for one request and its answer, in seconds.
CALL_SECONDS = 20.0

#: How often a request is sent that meets a limit or passing trouble.
MAX_TRIES = 3

#: Pause before the next try, in seconds; twice as long before the one after it.
PAUSE_SECONDS = 0.5

#: Longest pause that a forge may ask for, in seconds; one that asks for more has refused.
MAX_PAUSE_SECONDS = 20.0

#: Largest answer that is read, in bytes.
MAX_ANSWER_BYTES = 1 << 20

#: The same, of a page of comments, reviews or a pull request's files.
MAX_LONG_ANSWER_BYTES = 8 << 20


class Line:
    """Asks one forge. Raises Refused, Unsure and other ForgeErrors; never with the token in it."""

    def __init__(
        self,
        elsewhere: Callable[[Place, str], AbstractAsyncContextManager["Line"]],
        http: httpx2.AsyncClient,
        place: Place,
        token: str,
        clock: Clock,
        addresses: tuple[str, ...],
    ) -> None:
        self.place = place
        self._elsewhere = elsewhere
        self._http = http
        self._token = token
        self._clock = clock
        self._addresses = addresses

    async def get(self, shape: type[T], path: str, **query: str | int) -> T:
        """`path`: below the API's address, quoted."""
        return await self._ask("GET", shape, path, query=query)

    async def get_long(self, shape: type[T], path: str, **query: str | int) -> T:
        """Of things that hold what people and agents wrote."""
        answer = await self.answer("GET", f"{self.place.path}/{path}", query=query, read=whole(MAX_LONG_ANSWER_BYTES))
        return self._read(shape, answer)

    async def get_page(self, shape: type[list[T]], path: str, **query: str | int) -> tuple[list[T], int | None]:
        """The same, of a list, with the number of its last page; None: it is the only one, or the forge does not
        say."""
        answer = await self.answer("GET", f"{self.place.path}/{path}", query=query, read=whole(MAX_LONG_ANSWER_BYTES))
        items = self._read(shape, answer)
        return items, last_page_of(answer, len(items))

    async def end_of(self, path: str, size: int) -> bytes:
        """The last bytes of a text, which the forge may keep at another address: one redirect is followed there,
        without the token, and where the same policy allows it."""
        answer = await self.answer("GET", f"{self.place.path}/{path}", read=end(size), may_be_elsewhere=True)
        if answer.is_success:
            return answer.body
        try:
            parts = urlsplit(urljoin(f"{self.place.scheme}://{self.place.authority}/", answer.headers["location"]))
        except ValueError:
            parts = urlsplit("")
        place = place_of(f"{parts.scheme}://{parts.netloc}")
        target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
        async with self._elsewhere(place, self._token) as line:
            return (await line.answer("GET", target, read=end(size))).body

    async def all_of(self, path: str, most: int, **query: str | int) -> bytes:
        """A text of at most that many bytes."""
        return (await self.answer("GET", f"{self.place.path}/{path}", query=query, read=whole(most))).body

    async def send(
        self,
        method: str,
        shape: type[T],
        path: str,
        body: Mapping[str, JsonValue],
        *,
        is_repeatable: bool = True,
        below: str | None = None,
    ) -> T:
        """`is_repeatable` False: asked once, unless it was surely not done; raises Unsure then. `below`: another path
        than the API's own that `path` is below."""
        return await self._ask(method, shape, path, body=body, is_repeatable=is_repeatable, below=below)

    def clean(self, text: str) -> str:
        """`text` in one line, without the token."""
        return " ".join(text.split()).replace(self._token, "***")

    def hide(self, text: str) -> str:
        """`text` without the token."""
        return text.replace(self._token, "***")

    async def once(self, find: Callable[[], Awaitable[T | None]], create: Callable[[], Awaitable[T]]) -> T:
        """What `find` finds, or `create` creates: at most one, also when the answer to a creation is lost."""
        tries = 0
        while True:
            if (found := await find()) is not None:
                return found
            tries += 1
            try:
                return await create()
            except Refused:  # perhaps because somebody else was faster
                if (found := await find()) is not None:
                    return found
                raise
            except Unsure:
                if tries >= MAX_TRIES:
                    raise
                await self._clock.sleep(PAUSE_SECONDS * 2 ** (tries - 1))

    async def _ask(
        self,
        method: str,
        shape: type[T],
        path: str,
        *,
        query: Mapping[str, str | int] | None = None,
        body: Mapping[str, JsonValue] | None = None,
        is_repeatable: bool = True,
        below: str | None = None,
    ) -> T:
        target = f"{self.place.path if below is None else below}/{path}"
        answer = await self.answer(method, target, query=query, body=body, is_repeatable=is_repeatable)
        return self._read(shape, answer)

    async def answer(
        self,
        method: str,
        target: str,
        *,
        query: Mapping[str, str | int] | None = None,
        body: Mapping[str, JsonValue] | None = None,
        is_repeatable: bool = True,
        read: Read | None = None,
        may_be_elsewhere: bool = False,
    ) -> Answer:
        """`target`: the whole path, and a query. One of success, or, where it `may_be_elsewhere`, a redirect."""
        tries = 0
        while True:
            tries += 1
            pause = PAUSE_SECONDS * 2 ** (tries - 1)
            try:
                answer = await self._exchange(
                    method, target, query or {}, body, tries - 1, read or whole(MAX_ANSWER_BYTES)
                )
            except Unsure as error:
                if not is_repeatable or tries >= MAX_TRIES:
                    raise
                log.info("asking the forge again", host=self.place.host, error=error.message)
            else:
                if answer.is_success or (may_be_elsewhere and answer.is_elsewhere):
                    return answer
                pause = max(pause, self._pause(answer, is_repeatable=is_repeatable, is_last=tries >= MAX_TRIES))
                log.info("asking the forge again", host=self.place.host, status=answer.status)
            await self._clock.sleep(pause)

    def _pause(self, answer: Answer, *, is_repeatable: bool, is_last: bool) -> float:
        """How long to wait before the same is asked again. Raises what it comes to when it is not."""
        host, now = self.place.host, self._clock.now()
        if (wait := wait_of(answer, now)) is not None:  # it was not done, so it may always be asked again
            if is_last or wait > MAX_PAUSE_SECONDS:
                raise ForgeError(f"{host} limits how often it may be asked; try again in {max(1, round(wait)):,} s.")
            return wait
        if not answer.is_passing_trouble:
            raise refusal(answer, host, self._token)
        wait = pause_of(answer, now)
        if not is_repeatable or is_last or wait > MAX_PAUSE_SECONDS:
            raise Unsure(f"{host} is in trouble: it answers with HTTP {answer.status}.")
        return wait

    def _read(self, shape: type[T], answer: Answer) -> T:
        try:
            return TypeAdapter(shape).validate_json(answer.body)
        except ValueError:  # without what was in it
            raise ForgeError(
                f"{self.place.host} answers with something that is not of this API.",
                hint="The kind of the forge, or the address of its API, may be another.",
            ) from None

    async def _exchange(
        self,
        method: str,
        target: str,
        query: Mapping[str, str | int],
        body: Mapping[str, JsonValue] | None,
        turn: int,
        read: Read,
    ) -> Answer:
        """Raises Unsure for whatever the line does."""
        place = self.place
        authority, extensions = place.authority, dict[str, str]()
        if self._addresses:
            address = self._addresses[turn % len(self._addresses)]
            authority = outward.authority(address, place.port)
            extensions["sni_hostname"] = place.host
        try:
            request = self._http.build_request(
                method,
                f"{place.scheme}://{authority}{target}",
                params={name: str(value) for name, value in query.items()} or None,
                json=dict(body) if body is not None else None,
                headers={"Host": place.authority},
                extensions=extensions,
            )
            async with asyncio.timeout(CALL_SECONDS):
                answer = await self._http.send(request, stream=True)
                try:
                    return Answer(
                        answer.status_code,
                        {name.lower(): value for name, value in answer.headers.items()},
                        await read(answer, place.host),
                    )
                finally:
                    await answer.aclose()
        except (httpx2.InvalidURL, UnicodeError):
            raise ForgeError(f"{place.host} is no name of a host.") from None
        except (TimeoutError, httpx2.TimeoutException):
            raise Unsure(f"{place.host} did not answer in {CALL_SECONDS:g} s.") from None
        except httpx2.HTTPError as error:
            if (said := outward.untrusted(error)) is not None:
                raise ForgeError(f"The certificate of {place.host} is not trusted: {said}.") from None
            raise Unsure(f"{place.host} cannot be reached, or breaks off ({type(error).__name__}).") from None
