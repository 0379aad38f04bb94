"""`resnets COMMAND`: every other module of this package is a command, its function's signature the flags.

A parameter without a default or before a `/` is a positional argument, `*names` any number of them; every other
parameter is a flag. A name that Python keeps for itself ends in an underscore, which its flag does not have.
`**changes: Annotated[Any, Recipe]` is a flag for each field of that dataclass, or of several, which changes nothing
unless given; a tuple among them names fields that are no flags. A field of several families of networks is one flag,
which says what it does in each. What a flag does is read from the docstrings.
"""

from __future__ import annotations

import dataclasses
import inspect
import logging
import pkgutil
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from io import TextIOWrapper
from typing import Any, get_args, get_type_hints

import docstring_parser
from jsonargparse import ActionYesNo, ArgumentParser
from PIL import Image

import resnets.cli
from resnets.training.interruption import InterruptedTraining

MENDABLE = (ValueError, OSError, ImportError, FloatingPointError, MemoryError)
"""Errors that a user can mend: shown as a sentence, without a trace."""


def main(arguments: list[str] | None = None) -> int:
    """Run a command line; the status is 0, 1 after an error, 2 after misuse, 130 after an interruption."""
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    names = [module.name for module in pkgutil.iter_modules(resnets.cli.__path__) if module.name != "main"]
    commands: dict[str, Callable[..., None]] = {
        name: getattr(import_module(f"resnets.cli.{name}"), name) for name in names
    }
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # who reads pictures says what is left out
    if isinstance(sys.stdout, TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")  # file names may be in another encoding
    parsed = create_parser(commands).parse_args(arguments)
    command = commands[parsed.command]
    try:
        call(command, vars(parsed[parsed.command]))
    except (InterruptedTraining, KeyboardInterrupt) as stop:
        print(f"resnets {parsed.command}: {stop or 'interrupted'}", file=sys.stderr)
        return 130
    except MENDABLE as error:
        print(f"resnets {parsed.command}: {sentence(error)}", file=sys.stderr)
        return 1
    return 0


def sentence(error: Exception) -> str:
    """What went wrong, and what its notes add; of a file that the system refuses, its name and why."""
    refused = isinstance(error, OSError) and error.strerror is not None and error.filename is not None
    what = f"{error.filename}: {error.strerror}" if refused else str(error)  # type: ignore[attr-defined]
    return "; ".join((what, *getattr(error, "__notes__", ())))


def create_parser(commands: dict[str, Callable[..., None]]) -> ArgumentParser:
    """The parser of all commands."""
    parser = ArgumentParser(prog="resnets", description="Residual networks, from pictures to answers.")
    parser.add_argument("--version", action="version", version=f"resnets {version('resnets')}")
    subcommands = parser.add_subcommands(required=True, dest="command", metavar="COMMAND")
    for name, command in commands.items():
        text = docstring_parser.parse(command.__doc__ or "")
        description = "\n\n".join(filter(None, (text.short_description, text.long_description)))
        subparser = ArgumentParser(description=description)
        for argument in arguments_of(command):
            argument.add_to(subparser)
        subcommands.add_subcommand(name, subparser, help=text.short_description)
    return parser


@dataclass(frozen=True)
class Argument:
    """One argument of a command line; `nargs` of a positional is None for one, "?" for at most one, "*" for any."""

    name: str
    kind: Any
    help: str
    default: Any = None
    positional: bool = False
    nargs: str | None = None

    def add_to(self, parser: ArgumentParser) -> None:
        """Declare it."""
        if self.positional:
            options = {} if self.nargs is None else {"nargs": self.nargs, "default": self.default}
            parser.add_argument(self.name, type=self.kind, help=self.help, **options)
            return
        flag = f"--{self.name.removesuffix('_').replace('_', '-')}"
        if self.kind in (bool, bool | None):
            parser.add_argument(flag, action=ActionYesNo(no_prefix="no-"), default=self.default, help=self.help)
        else:
            parser.add_argument(flag, type=self.kind, default=self.default, help=self.help)


def arguments_of(command: Callable[..., None]) -> Iterator[Argument]:
    """The arguments that a command's signature declares."""
    kinds = get_type_hints(command, include_extras=True)
    helps = helps_of(command)
    for name, parameter in inspect.signature(command).parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            declared = get_args(kinds[name])[1:]
            hidden = [field for names in declared if isinstance(names, tuple) for field in names]
            declarations = [each for each in declared if isinstance(each, type)]
            yield from (argument for argument in fields_of(declarations) if argument.name not in hidden)
        elif parameter.kind is parameter.VAR_POSITIONAL:
            yield Argument(name, kinds[name], helps.get(name, ""), [], positional=True, nargs="*")
        elif parameter.default is parameter.empty:
            yield Argument(name, kinds[name], helps.get(name, ""), positional=True)
        else:
            first = parameter.kind is parameter.POSITIONAL_ONLY
            nargs = "?" if first else None
            yield Argument(name, kinds[name], helps.get(name, ""), parameter.default, first, nargs)


def fields_of(declarations: Iterable[type]) -> Iterator[Argument]:
    """An optional flag for each field of some dataclasses; a name that several of them have is one flag."""
    meanings: dict[str, dict[str, list[str]]] = {}  # by field and help, the families that it is the help of
    kinds: dict[str, Any] = {}
    families = [declaration.family for declaration in declarations if hasattr(declaration, "family")]
    for declaration in declarations:
        own = get_type_hints(declaration)
        helps = {name: text for base in reversed(declaration.__mro__) for name, text in helps_of(base).items()}
        for field in dataclasses.fields(declaration):
            family = getattr(declaration, "family", "")
            meanings.setdefault(field.name, {}).setdefault(helps[field.name], []).append(family)
            kinds[field.name] = kinds.get(field.name) | own[field.name]
    for name, kind in kinds.items():
        described = [
            text if of in ([""], families) else f"{', '.join(of)}: {text}" for text, of in meanings[name].items()
        ]
        yield Argument(name, kind, " ".join(described))


def helps_of(documented: object) -> dict[str, str]:
    """What a docstring says of each parameter or attribute."""
    described = docstring_parser.parse(inspect.cleandoc(getattr(documented, "__doc__", None) or "")).params
    texts = {}
    for parameter in described:
        for name in parameter.arg_name.split(","):
            texts[name.strip()] = " ".join((parameter.description or "").split())
    return texts


def call(command: Callable[..., None], values: dict[str, Any]) -> None:
    """Call a command with what was parsed; fields of a dataclass that were not given are left out."""
    positional: list[Any] = []
    parameters = inspect.signature(command).parameters
    named = {f"{name}_" if f"{name}_" in parameters else name: value for name, value in values.items()}
    for name, parameter in parameters.items():
        if parameter.kind is parameter.VAR_POSITIONAL:
            positional += named.pop(name)
        elif parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            positional.append(named.pop(name))
    command(
        *positional,
        **{name: value for name, value in named.items() if name in parameters or value is not None},
    )


if __name__ == "__main__":
    sys.exit(main())
