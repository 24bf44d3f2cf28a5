"""The HTTP API: every dialect in one ASGI application."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.routing import Route

from treadle.api.auth import Authenticator
from treadle.api.codegen.mount import agent_run_routes
from treadle.api.codegen.routes import SHAPES as AGENT_RUN_SHAPES
from treadle.api.deps import Services
from treadle.api.docs_page import docs_route
from treadle.api.front import Front
from treadle.api.health import Readiness, health_routes
from treadle.api.maitento import wire
from treadle.api.maitento.artifacts import ArtifactHandlers
from treadle.api.maitento.files import FileHandlers, TokenHandlers
from treadle.api.maitento.processes import Processes
from treadle.api.maitento.routes import SHAPES, routes
from treadle.api.mcp.mount import mcp_routes
from treadle.api.native.mount import SHAPES as NATIVE_SHAPES
from treadle.api.native.mount import native_routes
from treadle.api.openapi import DocumentedApp
from treadle.api.operations import metrics_for_admins
from treadle.api.problem_guard import Guard
from treadle.api.problems import on_http_error, on_unexpected
from treadle.api.rate_limits import Rate, RateLimit
from treadle.api.streams import Streams
from treadle.services.guesses import Guesses
from treadle.settings import Settings
from treadle.version import __version__

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]

_DESCRIPTION = "Runs AI coding CLIs over Git repositories: a commit a step, a diff, a trace and a bill."


def create_app(services: Services, settings: Settings, *, lifespan: Lifespan | None = None) -> FastAPI:
    """The application. `app.state.streams.close()` ends the open event streams, which a server that stops should do
    before it waits for its connections."""
    app = DocumentedApp(
        Front(settings),
        title="Treadle",
        version=__version__,
        description=_DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        exception_handlers={HTTPException: on_http_error, Exception: on_unexpected},
    )
    streams = Streams(services.runs, wire.event_frame, services.clock)
    app.state.streams = streams
    rate = Rate.parse(settings.rate_limit_code_generation)
    limit = RateLimit(rate, services.rates, services.clock, name="code-generation") if rate is not None else None
    guesses = Guesses(services.rates, services.clock, audit=services.audit)
    authenticator = Authenticator(services.identity, services.tokens, guesses)
    processes = Processes(
        services.runs,
        streams,
        authenticator,
        max_request_bytes=settings.max_request_bytes,
        allow_local=settings.allow_local_repositories,
    )
    guard = Guard(authenticator, limit)
    artifacts, files = ArtifactHandlers(services.runs), FileHandlers(services.files)
    app.add_plain(routes(guard, processes, artifacts, files, TokenHandlers(services.tokens)))
    app.add_plain(agent_run_routes(services, settings, authenticator))
    app.add_plain(native_routes(guard, services, settings))
    app.add_plain(mcp_routes(guard, services, settings, authenticator, streams.closed))
    app.router.routes.append(docs_route(app))
    app.router.routes += health_routes(Readiness(services.checks))
    app.router.routes.append(Route("/metrics", Guard(authenticator, None).behind(metrics_for_admins)))
    app.add_shapes((*SHAPES, *AGENT_RUN_SHAPES, *NATIVE_SHAPES))
    return app
