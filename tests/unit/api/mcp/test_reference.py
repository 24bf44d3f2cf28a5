"""The reference names every tool, with every argument and every field of its answer."""

import re
from pathlib import Path

import pytest
from tests.support.deployment import deployed
from tests.support.mcp_doors import connected
from tests.unit.docs.pages import page

from treadle.server import listening

_TOOL = re.compile(r"^### (\w+)\n(.*?)(?=^### |\Z)", re.MULTILINE | re.DOTALL)


@pytest.mark.anyio
async def test_every_tool_is_told(tmp_path: Path) -> None:
    text = page("reference/mcp.md").partition("<!-- tools -->\n")[2].partition("<!-- end -->")[0]
    told = {
        name: (
            re.findall(r"^\| `(\w+)` \|", part, re.MULTILINE),
            re.findall(r"`(\w+)`", part.partition("\nAnswers ")[2]),
        )
        for name, part in _TOOL.findall(text)
    }
    async with (
        deployed(tmp_path) as here,
        listening(here.app, "127.0.0.1", 0) as url,
        connected("http", url, here.admin.key) as client,
    ):
        tools = (await client.list_tools()).tools
    found = {
        tool.name: (list(tool.input_schema["properties"]), list((tool.output_schema or {})["properties"]))
        for tool in tools
    }
    assert told == found
