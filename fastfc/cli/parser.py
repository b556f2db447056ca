"""The command line: fastfc train, watch, report, plot, predict, export, compare, bench, info, warmup, reproduce.

A parser is filled only for the command that was named, and each command imports what it needs when it runs:
`fastfc --help` loads neither numpy nor numba.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from fastfc.cli import commands, runs, training, watch
from fastfc.cli.common import CURVES, HISTORY, INTERRUPTED, MODEL, REPORT
from fastfc.errors import FastFCError
from fastfc.machine.terminal import painted, wrapped
from fastfc.renamed import new_flags

ERROR = 2
DATA = "mnist, fashion-mnist, digits, a folder of IDX files, or an .npz file (default: mnist, else digits)"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. The exit code is 0, 2 after an error, 130 after Ctrl-C, 1 when nobody reads the output."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a name of a file may have what the terminal cannot show
    try:
        arguments = new_flags(arguments)
        options = _parser(arguments).parse_args(arguments)
        code = options.run(options)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("fastfc: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that the flush at exit succeeds
        return 1
    except (FastFCError, OSError) as error:
        print(_error(_one_line(error)), file=sys.stderr)
        return ERROR
    return code or 0


class Command(NamedTuple):
    help: str
    run: Callable[[argparse.Namespace], int | None]
    fill: Callable[[argparse.ArgumentParser], None]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(ERROR, _error(f"{message} (see {self.prog} --help)") + "\n")


def _parser(arguments: Sequence[str]) -> _Parser:
    parser = _Parser(prog="fastfc", description="Train a fully connected network on a CPU.", allow_abbrev=False)
    parser.add_argument("-V", "--version", action=_Version, nargs=0, help="print the version and exit")
    named = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        one = named.add_parser(name, help=command.help, description=f"{command.help.capitalize()}.", allow_abbrev=False)
        one.set_defaults(run=command.run)
        if name in arguments:
            command.fill(one)
    return parser


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from importlib.metadata import version

        print(f"fastfc {version('fastfc')}")
        parser.exit()


def _fill_train(parser: argparse.ArgumentParser) -> None:
    from fastfc.cli.options import add_settings
    from fastfc.recipes import RECIPES

    _add_data(parser)
    parser.add_argument("--recipe", metavar="NAME", help=f"start from these settings: {', '.join(RECIPES)}")
    parser.add_argument("--backend", default="numba", metavar="NAME", help="numba or numpy (default: numba)")
    _add_run(parser)
    parser.add_argument(
        "--validation", type=float, metavar="SHARE", help="measure each epoch on this share of the samples, not trained on"
    )
    parser.add_argument(
        "--class-weight", metavar="NAME", help="balanced: each class counts alike, however many samples it has"
    )
    parser.add_argument(
        "--early-stopping", type=int, metavar="N", help="stop N epochs after the best, and keep that (needs --validation)"
    )
    parser.add_argument(
        "--monitor", metavar="NAME", help="what early stopping goes by (default: validation_loss), such as loss"
    )
    parser.add_argument("--max-seconds", type=float, metavar="S", help="stop after so many seconds of training")
    parser.add_argument(
        "--checkpoint", metavar="DIR", type=Path, help="save the state to DIR, and go on from what it has"
    )
    parser.add_argument(
        "--checkpoint-every", type=int, default=1, metavar="N", help="epochs between checkpoints (default: 1)"
    )
    parser.add_argument("--mpi", action="store_true", help="with mpiexec: one training in all processes that it starts")
    parser.add_argument(
        "--average-every", type=int, metavar="K", help="with --mpi: processes train alone, and average after K steps"
    )
    out = f"write {MODEL}, {HISTORY} and {CURVES} to DIR, and while training runs what `fastfc watch DIR` shows"
    parser.add_argument("--out", metavar="DIR", type=Path, help=out)
    page = "write a page to FILE, an .html, on which the network answers as one draws, or sets its inputs"
    parser.add_argument("--page", metavar="FILE", type=Path, help=page)
    quiet = "say nothing but errors: no progress, no result, no notices"
    parser.add_argument("--quiet", action="store_true", help=quiet)
    _add_json(parser)
    add_settings(parser)


def _fill_export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help=f"a model file, such as runs/latest/{MODEL}")
    out = "the file to write: .onnx, .html for a page to draw on or a form, .h for a header of C"
    parser.add_argument("out", metavar="OUT", type=Path, help=out)
    parser.add_argument("--classes", type=_names, metavar="NAME,...", help="what the classes are called, in their order")
    columns = "on a page, what the inputs are called, and what they can be set to"
    parser.add_argument("--columns", type=_columns, metavar="NAME[:LEAST:MOST],...", help=columns)
    parser.add_argument("--title", metavar="TEXT", help="of a page")


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]


def _columns(text: str) -> list[str | tuple[str, float, float]]:
    """'age:18:90,height' -> [('age', 18.0, 90.0), 'height']"""
    return [_column(part) for part in _names(text)]


def _column(text: str) -> str | tuple[str, float, float]:
    name, *ends = text.rsplit(":", 2)
    try:
        return (name, float(ends[0]), float(ends[1])) if ends else name
    except (ValueError, IndexError):
        raise argparse.ArgumentTypeError(f"given {text!r}, expected NAME or NAME:LEAST:MOST") from None


def _fill_predict(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help=f"a model file, such as runs/latest/{MODEL}")
    parser.add_argument("images", metavar="IMAGE", nargs="*", help="image files, each of one digit")
    parser.add_argument("--data", metavar="DATA", help="a data set to measure the accuracy (or R2) on, instead of images")
    parser.add_argument(
        "--ink", default="auto", metavar="NAME", help="of the digit: dark, light, or auto to find out (default: auto)"
    )
    parser.add_argument("--show", action="store_true", help="draw each image as the network sees it")


def _fill_compare(parser: argparse.ArgumentParser) -> None:
    from fastfc.cli.options import add_settings

    _add_data(parser)
    names = "numpy,numba"
    parser.add_argument("--backends", default=names, metavar="NAMES", help=f"the first is the base (default: {names})")
    parser.add_argument("--repeats", type=int, default=3, metavar="N", help="trainings of each (default: 3)")
    _add_run(parser)
    _add_json(parser)
    add_settings(parser, epochs=1)


def _fill_bench(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", metavar="DATA", help=DATA)
    _add_run(parser)


def _fill_reproduce(parser: argparse.ArgumentParser) -> None:
    from fastfc.recipes import RECIPES

    parser.add_argument(
        "names", metavar="NAME", nargs="*", help=f"of {', '.join(RECIPES)} (default: all of the reports)"
    )
    parser.add_argument("--data", metavar="DATA", help=DATA)
    parser.add_argument("--backend", default="numba", metavar="NAME", help="numba or numpy (default: numba)")
    _add_run(parser)
    parser.add_argument("--epochs", type=int, metavar="N", help="at most so many, to try things out")
    out = Path("reproduction")
    parser.add_argument("--out", metavar="DIR", type=Path, default=out, help=f"folder of the report (default: {out})")
    parser.add_argument("--verbose", action="store_true", help="print the error every 10 batches")


def _fill_watch(parser: argparse.ArgumentParser) -> None:
    _add_run_folder(parser)


def _fill_report(parser: argparse.ArgumentParser) -> None:
    _add_run_folder(parser)
    parser.add_argument("--data", metavar="DATA", help="show the mistakes in it (default: the data trained on)")
    out = f"the file to write (default: {REPORT} in RUN)"
    parser.add_argument("--out", metavar="FILE", type=Path, help=out)


def _fill_plot(parser: argparse.ArgumentParser) -> None:
    _add_run_folder(parser)
    parser.add_argument("--data", metavar="DATA", help="draw samples and mistakes of it (default: the one trained on)")


def _add_run_folder(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="RUN", type=Path, help="the folder that `fastfc train --out RUN` writes to")


def _fill_warmup(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--all", action="store_true", help="those of every kind of training, not of the default one alone")


def _fill_nothing(parser: argparse.ArgumentParser) -> None:
    """The command has no options."""


COMMANDS = {
    "train": Command("train a network and say how good it is", training.train, _fill_train),
    "watch": Command("show the curves of a training while it runs", watch.watch, _fill_watch),
    "report": Command("make one page of what a training has written", runs.report, _fill_report),
    "plot": Command("draw what a training has written", runs.plot, _fill_plot),
    "predict": Command("read images with a trained model, or measure its accuracy", commands.predict, _fill_predict),
    "export": Command("write a network for where there is no Python", commands.export, _fill_export),
    "compare": Command("run the same training on each backend", commands.compare, _fill_compare),
    "bench": Command("time the backends in under a minute", commands.bench, _fill_bench),
    "info": Command("print versions, machine, threads, cache and data", commands.info, _fill_nothing),
    "warmup": Command("compile the kernels and keep them", commands.warmup, _fill_warmup),
    "reproduce": Command("run the recipes next to what was reported", commands.reproduce, _fill_reproduce),
}


def _add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", metavar="DATA", help=DATA)
    parser.add_argument("--test-data", metavar="DATA", help="test on this data: on its test set, where it has one")


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--threads", type=int, metavar="N", help="threads that compute (default: as many as pay)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of all random numbers (default: 0)")


def _add_json(parser: argparse.ArgumentParser) -> None:
    text = "write the result to FILE as one JSON object; -: to standard output, on which is then nothing else"
    parser.add_argument("--json", metavar="FILE", type=Path, help=text)


def _error(message: str) -> str:
    """One line, for whatever reads it; on a terminal, which would break it anywhere, broken between words."""
    line, head = f"fastfc: error: {message}", "fastfc: error:"
    if sys.stderr is not None and sys.stderr.isatty():
        line = wrapped(line, stream=sys.stderr)
    return painted(head, "red", sys.stderr) + line.removeprefix(head)


def _one_line(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror and not isinstance(error, FastFCError):
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return " ".join(str(error).split())
