"""The MCP server itself: its tools, and one exchange of a request for an answer. Imported with the first request, for
MCP's package takes a second to load."""

import asyncio

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.tools import Tool
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from mcp_types import ToolAnnotations
from starlette.types import Receive, Scope, Send

from treadle.api.auth import Authenticator
from treadle.api.deps import Services
from treadle.api.mcp.arguments import StrictTool
from treadle.api.mcp.batch_tools import BatchTools
from treadle.api.mcp.batch_waiting import BatchWaitingTool
from treadle.api.mcp.plan_tools import PlanTools
from treadle.api.mcp.reading_tools import ReadingTools
from treadle.api.mcp.run_tools import RunTools
from treadle.api.mcp.waiting import Waiter, WaitingTool
from treadle.settings import Settings
from treadle.version import __version__

NAME = "treadle"

INSTRUCTIONS = (
    "Treadle runs AI coding CLIs over Git repositories. A run does steps on a work branch, each of which ends in a "
    "commit that is pushed. start_run answers at once; wait_for_run waits, and says to call again when the run takes "
    "longer; run_diff shows what it changed, run_logs what happened, resume_run gives it another step. "
    "start_batch starts one plan on many repositories: wait_for_batch waits, batch_report shows what came of each."
)

#: Where requests come from is looked at before this, and more strictly than its own list of hosts can.
_NO_CHECK = TransportSecuritySettings(enable_dns_rebinding_protection=False)

_READS = ToolAnnotations(read_only_hint=True, open_world_hint=False)
_ADDS = ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=False, open_world_hint=False)
_STARTS = ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=False, open_world_hint=True)
_ENDS = ToolAnnotations(read_only_hint=False, destructive_hint=True, idempotent_hint=True, open_world_hint=False)


class Server:
    """Keeps nothing between two requests, so that any process of many answers any of them."""

    def __init__(
        self, services: Services, settings: Settings, authenticator: Authenticator, closed: asyncio.Event
    ) -> None:
        url = settings.public_url
        runs = RunTools(services, allow_local=settings.allow_local_repositories, public_url=url)
        reading = ReadingTools(services)
        waiter = Waiter(authenticator, closed)
        waiting = WaitingTool(services, waiter, public_url=url)
        batches = BatchTools(services, allow_local=settings.allow_local_repositories, public_url=url)
        batch_waiting = BatchWaitingTool(services, waiter, public_url=url)
        plans = PlanTools(services, allow_local=settings.allow_local_repositories, public_url=url)
        tools: list[Tool] = [
            StrictTool.of(runs.start_run, "Start a run", _STARTS),
            StrictTool.of(plans.start_plan, "Start a plan", _STARTS),
            StrictTool.of(runs.get_run, "Show a run", _READS),
            StrictTool.of(runs.list_runs, "List runs", _READS),
            StrictTool.of(waiting.wait_for_run, "Wait for a run", _READS),
            StrictTool.of(runs.resume_run, "Resume a run", _STARTS),
            StrictTool.of(runs.kill_run, "Kill a run", _ENDS),
            StrictTool.of(reading.run_logs, "Show a run's log", _READS),
            StrictTool.of(reading.run_diff, "Show a run's diff", _READS),
            StrictTool.of(reading.upload_file, "Upload a file", _ADDS),
            StrictTool.of(reading.list_repositories, "List repositories", _READS),
            StrictTool.of(batches.start_batch, "Start a batch", _STARTS),
            StrictTool.of(batches.get_batch, "Show a batch", _READS),
            StrictTool.of(batches.list_batches, "List batches", _READS),
            StrictTool.of(batch_waiting.wait_for_batch, "Wait for a batch", _READS),
            StrictTool.of(batches.batch_report, "Show a batch's report", _READS),
            StrictTool.of(batches.retry_batch, "Try a batch again", _STARTS),
            StrictTool.of(batches.kill_batch, "Kill a batch", _ENDS),
        ]
        made = MCPServer(
            NAME,
            tools=tools,
            title="Treadle",
            instructions=INSTRUCTIONS,
            version=__version__,
            log_level="WARNING",
            subscriptions=False,
        )
        made.streamable_http_app(stateless_http=True)  # makes its manager, which alone knows the inner server
        self._inner = made.session_manager.app
        self._max_bytes = settings.max_request_bytes

    async def exchange(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request. Its manager lives as long as it does: what a request starts ends with it, also when the client
        leaves."""
        manager = StreamableHTTPSessionManager(
            self._inner,
            stateless=True,
            security_settings=_NO_CHECK,
            max_request_body_size=self._max_bytes,
        )
        async with manager.run():
            await manager.handle_request(scope, receive, send)
