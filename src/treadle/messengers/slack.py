"""Messages to an incoming webhook of Slack, or of what understands the same."""

import json

from treadle.messengers.posting import Posting
from treadle.messengers.words import words_of
from treadle.ports.webhooks import Letter, Reply


class SlackMessenger:
    def __init__(self, posting: Posting) -> None:
        self._posting = posting

    async def send(self, letter: Letter) -> Reply:
        body = json.dumps(message(letter)).encode()
        return await self._posting.post(letter.target, body, {})

    async def close(self) -> None:
        await self._posting.close()


def message(letter: Letter) -> dict[str, object]:
    """`text` is for notifications, `blocks` are what is shown. Nothing in it mentions anybody or links anywhere, but
    for the link to the run."""
    words = words_of(letter)
    title = _escaped(words.title)
    shown = f"*<{words.url}|{title.replace('|', '/')}>*" if words.url else f"*{title}*"
    blocks: list[object] = [{"type": "section", "text": {"type": "mrkdwn", "text": shown, "verbatim": True}}]
    if words.text:
        blocks.append({"type": "section", "text": {"type": "plain_text", "text": words.text, "emoji": False}})
    return {"text": title, "blocks": blocks}


def _escaped(text: str) -> str:
    """As Slack's mrkdwn wants it; and no `*`, `_`, `~` or backtick is taken for a mark."""
    plain = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return "".join(f"{each}\u200b" if each in "*_~`" else each for each in plain)
