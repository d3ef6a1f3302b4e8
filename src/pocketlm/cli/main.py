"""`pocketlm`: the commands, and what becomes of errors."""

from __future__ import annotations

import logging
import os
import sys
from importlib import import_module
from typing import Any

import typer

from pocketlm import __version__
from pocketlm.cli.show import complain
from pocketlm.errors import PocketLMError

EXIT_INTERRUPTED = 130

# Command, or group and command, and module; each is imported only when it is run or asked for help.
COMMANDS = {
    "fit": "pocketlm.cli.fit",
    "advise": "pocketlm.cli.advise",
    "pretrain": "pocketlm.cli.pretrain",
    "compress": "pocketlm.cli.compress",
    "export": "pocketlm.cli.export",
    "run": "pocketlm.cli.run",
    "evaluate": "pocketlm.cli.evaluate",
    "compare": "pocketlm.cli.compare",
    "bench": "pocketlm.cli.bench",
    "calibrate-device": "pocketlm.cli.calibrate_device",
    "inspect": "pocketlm.cli.inspect",
    "data write": "pocketlm.cli.data_write",
    "data check": "pocketlm.cli.data_check",
    "augment": "pocketlm.cli.augment",
    "label": "pocketlm.cli.label",
    "language-report": "pocketlm.cli.language_report",
    "serve": "pocketlm.cli.serve",
}

GROUPS = {"data": "Look for what is wrong with rows, or write them to one file."}

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Small language models that meet a budget, in one file, measured where they run.",
    epilog="Exit codes: 0 done, 1 a check failed, 2 wrong input, 3 the budget was missed, 130 interrupted. "
    "--debug (anywhere) shows the traceback of an error.",
)


def _version(shown: bool) -> None:
    if shown:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    pass


_groups = {name: typer.Typer(no_args_is_help=True, help=text) for name, text in GROUPS.items()}
for _name, _module in COMMANDS.items():
    _group, _, _own = _name.rpartition(" ")
    (_groups[_group] if _group else app).command(_own)(import_module(_module).command)
for _name, _group_app in _groups.items():
    app.add_typer(_group_app, name=_name)


def keep_stdout() -> None:
    """Keep stdout for results: what native libraries print of their own accord goes to stderr, as HiGHS 1.12 does."""
    try:
        if sys.stdout.fileno() != 1:
            return
    except (OSError, ValueError, AttributeError):  # no file, or none at all
        return
    sys.stdout.flush()
    kept, lines = os.dup(1), sys.stdout.isatty()
    os.dup2(2, 1)
    sys.stdout = open(kept, "w", 1 if lines else -1, sys.stdout.encoding, sys.stdout.errors)  # noqa: SIM115


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its code; an error is one line on stderr unless --debug is given."""
    if arguments is None:
        keep_stdout()
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    given = [word for word in given if word != "--debug"]
    logging.basicConfig(level=logging.INFO if debug else logging.ERROR, stream=sys.stderr, format="%(message)s")
    try:
        code: Any = app(given, standalone_mode=False)
    except PocketLMError as error:
        if debug:
            raise
        complain(str(error))
        code = error.exit_code
    except KeyboardInterrupt:
        code = EXIT_INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except typer.Exit as stop:
        code = stop.exit_code
    except Exception as error:
        code = _told(error)
    if code == EXIT_INTERRUPTED:  # typer turns Ctrl-C into this code itself
        goes_on = given[:1] in (["fit"], ["label"], ["pretrain"])
        complain("interrupted" + ("; run the same command again and it goes on from here" if goes_on else ""))
    sys.exit(code if isinstance(code, int) else 0)


def _told(error: Exception) -> int:
    """The exit code of an error in how a command was called, said on stderr; any other error is raised again."""
    if type(error).__name__ == "NoArgsIsHelpError":
        sys.stderr.write(f"{error}\n")
    elif type(error).__module__.startswith(("click", "typer")) and hasattr(error, "format_message"):
        complain(error.format_message())
    else:
        raise error
    return int(getattr(error, "exit_code", 2))


if __name__ == "__main__":
    main()
