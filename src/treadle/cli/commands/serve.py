"""The service itself."""

from typing import Annotated

import typer

from treadle.cli import options


def register(app: typer.Typer) -> None:
    """Adds the commands to `app`."""
    app.command()(serve)
    app.command()(worker)


def serve(
    host: Annotated[
        str | None, typer.Option(help="Address to listen on.", show_default="TREADLE_HOST, else 127.0.0.1")
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="Port; 0 takes a free one.", show_default="TREADLE_PORT, else 8417")
    ] = None,
    no_worker: Annotated[bool, typer.Option("--no-worker", help="Only the API: workers run elsewhere.")] = False,
    json: options.Json = False,
) -> None:
    """Run the API, a worker and the sweeper, until SIGTERM or Ctrl-C.

    An empty data directory gets an organization, an admin and an API key, which is shown this once.
    """
    from treadle.cli.service import run_service

    given = {name: value for name, value in {"host": host, "port": port}.items() if value is not None}
    run_service(given, with_api=True, with_worker=not no_worker, is_json=json)


def worker() -> None:
    """Run a worker and the sweeper beside the services that share its database."""
    from treadle.cli.service import run_service

    run_service({}, with_api=False, with_worker=True, is_json=False)
