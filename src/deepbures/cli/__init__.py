"""The command line: parse, call, show. What computes is imported by the command that needs it.

`deepbures --help` has to answer at once, so nothing that is imported here may load JAX or NumPy. A command is a record
of `deepbures.cli.requests`: its fields are the options, it checks itself, and it names the module that does the work,
which is imported then.
"""

import contextlib
import importlib
import inspect
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

from deepbures import __version__
from deepbures.cli import _options as options
from deepbures.cli import requests
from deepbures.cli._messages import Invocation, WorkError, explain, say, write_anywhere
from deepbures.cli._show import show_json

app = typer.Typer(
    name="deepbures",
    help="Fit, sample and compare Gaussian generators under the Bures-Wasserstein distance.",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_INTERRUPTED = 130
"""What typer makes of Ctrl-C (older versions raise Abort)."""


def _version(value: bool) -> None:
    if value:
        typer.echo(f"deepbures {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    pass


def _command(make: type[requests.Request]) -> Callable[..., None]:
    """The function of a command, with the fields of its request as arguments, as typer reads them off a signature."""

    def command(
        context: typer.Context,
        *,
        as_json: options.Json = False,
        quiet: options.Quiet = False,
        debug: options.Debug = False,
        **asked: Any,
    ) -> None:
        request = make(**asked)
        from deepbures.cli._progress import Display

        with Display(quiet=quiet) as display, request.prepared(display):
            work = importlib.import_module(request.work)
            summary = work.run(request, context.obj, display)
        if as_json:
            show_json(summary)
        else:
            work.show(summary)

    context, *common, _ = inspect.signature(command).parameters.values()
    fields = inspect.signature(make).parameters.values()
    parameters = [context, *fields, *common]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command


for _name, _request in {
    "fit": requests.FitRequest,
    "sample": requests.SampleRequest,
    "distance": requests.DistanceRequest,
    "landscape": requests.LandscapeRequest,
    "certify": requests.CertifyRequest,
    "reproduce": requests.ReproduceRequest,
}.items():
    app.command(_name, help=inspect.getdoc(_request))(_command(_request))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line: one call, from arguments to exit code.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments after the program's name; by default those of the process.

    Returns
    -------
    int
        0 done, 1 the work failed, 2 bad input.

    Examples
    --------
    >>> from deepbures.cli import main
    >>> main(["--version"])
    deepbures 0.1.0
    0
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        write_anywhere(stream)
    call = Invocation(arguments)
    try:
        with call.showing_warnings():
            code = app(arguments or ["--help"], prog_name="deepbures", standalone_mode=False, obj=call) or 0
        if code == _INTERRUPTED:
            raise KeyboardInterrupt
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 — whatever it is: one line, no traceback
        code, text = explain(error, debug="--debug" in arguments)
        say(f"deepbures: error: {text}")
        if "--json" in arguments:
            known = error.summary if isinstance(error, WorkError) else {}
            with contextlib.suppress(OSError):  # it may be standard output itself that cannot be written to
                show_json({**known, "error": text, "exit_code": code})
    return code
