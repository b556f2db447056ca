"""Public names that have changed. For one version the old ones are taken too, and say so."""

from __future__ import annotations

import functools
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar

from fastfc.errors import InvalidType, invalid

RENAMED = {  # old: new
    "every": "checkpoint_every",
    "steps_a_call": "steps_per_call",
    "hardest": "top_loss_fraction",
}

P = ParamSpec("P")
R = TypeVar("R")
C = TypeVar("C", bound=type[Any])


def old_keywords(function: Callable[P, R]) -> Callable[P, R]:
    """`function`, which takes old names of its keywords too, with a DeprecationWarning; InvalidType for old and new."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        return function(*args, **_renamed(kwargs) if kwargs.keys() & RENAMED else kwargs)

    return call


def old_fields(cls: C) -> C:
    """A dataclass whose fields are also set, and read, by their old names."""
    changed: Any = cls
    make, names = changed.__init__, set(changed.__dataclass_fields__)

    @functools.wraps(make)
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        if kwargs.keys() & RENAMED:
            # dataclasses.replace gives every field, changed or not: there the old name is what its caller gave.
            kwargs = _renamed(kwargs, is_replace=names < kwargs.keys())
        make(self, *args, **kwargs)

    changed.__init__ = init
    for old in (old for old, new in RENAMED.items() if new in names):
        setattr(changed, old, property(functools.partial(_read, old=old)))
    return cls


def new_flags(arguments: Sequence[str]) -> list[str]:
    """`arguments` of the command line with new names of options for old ones, each with a line on standard error."""
    given = [argument.partition("=")[0] for argument in arguments]
    result = list(arguments)
    for old, new in ((_flag(old), _flag(new)) for old, new in RENAMED.items()):
        if old in given and new in given:
            raise invalid(old, f"together with {new}, its new name", "one of them")
        for k in (k for k, flag in enumerate(given) if flag == old):
            print(f"fastfc: {old} is now {new}", file=sys.stderr)
            result[k] = new + arguments[k].removeprefix(old)
    return result


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _renamed(given: dict[str, Any], is_replace: bool = False) -> dict[str, Any]:
    result = dict(given)
    for old, new in RENAMED.items():
        if old not in given:
            continue
        if new in given and not is_replace:
            raise InvalidType(f"{old}: given together with {new}, its new name, expected one of them")
        _warn(old, stacklevel=4)
        result[new] = result.pop(old)
    return result


def _read(instance: Any, *, old: str) -> Any:
    _warn(old, stacklevel=3)
    return getattr(instance, RENAMED[old])


def _warn(old: str, stacklevel: int) -> None:
    message = f"{old} is now {RENAMED[old]}; the old name goes with the next version"
    warnings.warn(message, DeprecationWarning, stacklevel)
