"""The command `treadle`. Imports stay inside the commands: `--help` must not pay for the service."""

import typer
from typer.core import TyperGroup

from treadle.cli.commands import (
    admin,
    agent,
    artifacts,
    batch,
    bill,
    blobs,
    database,
    demo,
    doctor,
    files,
    mcp,
    plan,
    prune,
    remote,
    run,
    schedule,
    script,
    serve,
    trigger,
    webhook,
)
from treadle.cli.failures import Stopped, report
from treadle.cli.output import prepare_streams


class Treadle(TyperGroup):
    """Ends every command with one sentence and an exit code, never with a traceback."""

    def invoke(self, ctx: typer.Context) -> object:  # type: ignore[override]  # its base class is not public
        try:
            return super().invoke(ctx)
        except typer.TyperException as refused:
            refused.message = refused.message.removeprefix("Value error, ")  # pydantic's, which reads the options
            raise
        except (typer.Exit, typer.Abort, BrokenPipeError):
            raise
        except Stopped as stopped:
            raise typer.Exit(stopped.code) from None
        except Exception as error:
            if ctx.params.get("debug"):
                raise
            raise typer.Exit(report(error)) from None


app = typer.Typer(
    name="treadle",
    cls=Treadle,
    help="Runs AI coding CLIs over Git repositories: a commit a step, a diff, a trace and a bill.",
    no_args_is_help=True,
    rich_markup_mode=None,  # rich would double the time of --help
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from treadle.version import __version__

        typer.echo(f"treadle {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(
        False, "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
    ),
    debug: bool = typer.Option(False, "--debug", help="Show tracebacks, and the service's log on standard error."),
) -> None:
    del version, debug  # the one has been shown, the other is read from the context


def main() -> None:
    """The console script."""
    prepare_streams()
    app()


for module in (
    demo,
    run,
    serve,
    remote,
    plan,
    agent,
    script,
    batch,
    schedule,
    trigger,
    webhook,
    artifacts,
    files,
    bill,
    mcp,
    admin,
    database,
    blobs,
    prune,
    doctor,
):
    module.register(app)
