"""`_target_`s of a config: the functions that they name, called with arguments that were checked before."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, get_type_hints

from hydra.errors import HydraException, InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError

from seedbed import Refused
from seedbed.run import provenance


def target(node: Any, name: str) -> Callable[..., Any]:
    """The function that a config node names by `_target_`, with the node's other keys as its arguments, not yet called.

    Raises Refused if it can't be imported or doesn't take these arguments.
    """
    if not isinstance(node, DictConfig) or "_target_" not in node:
        raise Refused(f"{name} names no function: a _target_ is needed, for example {name}._target_=example.data.digits.")
    if missing := sorted(OmegaConf.missing_keys(node)):
        raise Refused(f"Values are missing: say {' '.join(f'{key}=…' for key in missing)}.")
    try:
        function = instantiate(node, _partial_=True, _convert_="all")
    except InstantiationException as error:
        cause = _root(error)
        own = isinstance(cause, ModuleNotFoundError) and str(node["_target_"]).startswith(str(cause.name))
        if cause is error or own or _raised_in(cause, ("hydra.", "importlib")):
            raise Refused(
                f"{name}: {node['_target_']!r} can't be imported ({str(cause).splitlines()[0]}). "
                "Accepted: the dotted name of a function or class in src/, on PYTHONPATH, or of an installed package."
            ) from error
    except HydraException as error:
        raise Refused(f"{name}: {error}") from error
    else:
        return function  # type: ignore[no-any-return]
    # An error in the user's own module: he needs the line where it happened. Raised out here, without the context that
    # Hydra gave it: that would be a circle.
    cause.__context__ = None
    raise cause


def _root(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _raised_in(error: BaseException, modules: tuple[str, ...]) -> bool:
    """Whether an exception was raised by one of these modules' own lines."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    return frame is not None and f"{frame.tb_frame.f_globals.get('__name__')}.".startswith(modules)


def called(function: Callable[..., Any], name: str, **offered: Any) -> Any:
    """Call a `target`, passing those of `offered` that it has parameters for; Refused if the arguments don't fit."""
    inner, given = (function.func, function.keywords) if isinstance(function, partial) else (function, {})
    try:
        signature = inspect.signature(inner)
    except (TypeError, ValueError):
        return function()
    extra = {key: value for key, value in offered.items() if key in signature.parameters and key not in given}
    try:
        signature.bind(**given, **extra)
    except TypeError as error:
        takes = ", ".join(key for key in signature.parameters if key not in offered)
        raise Refused(f"{name}: {getattr(inner, '__qualname__', inner)}: {error}. It takes: {takes or 'nothing'}.") from None
    _check_types(inner, given, name)
    try:
        return function(**extra)
    except (TypeError, ValueError) as error:
        if provenance.is_own(inner):
            raise  # the user's own code: he needs the line where it happened
        words = ", ".join(f"{key}={value!r}" for key, value in given.items())
        raise Refused(f"{name}: {getattr(inner, '__qualname__', inner)}({words}): {str(error).strip()}") from error


def takes(function: Callable[..., Any], name: str) -> bool:
    """Whether a `target` has a parameter `name` that the config leaves open."""
    inner, given = (function.func, function.keywords) if isinstance(function, partial) else (function, {})
    try:
        return name in inspect.signature(inner).parameters and name not in given
    except (TypeError, ValueError):
        return False


def _check_types(function: Any, given: Mapping[str, Any], name: str) -> None:
    """Refuse an argument that the function's annotation doesn't admit, where it has one that can be checked."""
    try:
        hints = get_type_hints(function.__init__ if inspect.isclass(function) else function)
    except (NameError, TypeError, AttributeError):
        return
    for key, value in given.items():
        if key not in hints:
            continue
        try:
            checker = TypeAdapter(hints[key], config=ConfigDict(arbitrary_types_allowed=True))
        except (PydanticUserError, PydanticSchemaGenerationError):
            continue
        try:
            checker.validate_python(value)
        except ValidationError as error:
            raise Refused(
                f"{name}.{key}={value!r} is not accepted: {error.errors()[0]['msg']} ({inspect.formatannotation(hints[key])})."
            ) from None


def names(node: Any) -> Iterator[str]:
    """Every dotted name that a config hands to `instantiate`, wherever it stands."""
    if isinstance(node, Mapping):
        named = node.get("_target_")
        if isinstance(named, str):
            yield named
            if named.startswith("hydra.utils.get_") and isinstance(node.get("path"), str):
                yield node["path"]
        for value in node.values():
            yield from names(value)
    elif isinstance(node, list):
        for item in node:
            yield from names(item)
