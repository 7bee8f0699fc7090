"""A fitted estimator as bytes without pickle: equal fits have equal bytes, and reading them runs nothing they hold."""

import inspect
import pkgutil
import re
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile, ZipInfo

#: What holds values and does nothing: LightGBM keeps its scores in mappings that make these.
CONTAINERS = ("collections.OrderedDict",)


def written(estimator: Any) -> bytes:  # noqa: ANN401  any fitted estimator
    """Return the archive that skops writes, of a scikit-learn, XGBoost, LightGBM … estimator or one around them.

    XGBoost's trees lie in it in its own binary form, LightGBM's as its model text.

    Raises:
        TypeError: If skops knows no way to keep a part of it, such as a function of somebody's own.
    """
    from skops.io import dumps

    try:
        return _without_addresses(dumps(estimator))
    except TypeError as error:
        said = str(error).strip().splitlines()[0]
        raise TypeError(f"{type(estimator).__name__} cannot be kept without pickle: {said}") from error


def types_to_trust(content: bytes) -> list[str]:
    """Return the types in an archive that skops does not read unless it is told to, by full name, in order.

    Raises:
        ValueError: If it is no archive of skops.
    """
    from skops.io import get_untrusted_types

    try:
        return [name for name in get_untrusted_types(data=content) if name not in CONTAINERS]
    except (BadZipFile, LookupError, ValueError) as error:
        raise ValueError(f"it holds no estimator that skops wrote: {error}") from error


def read_back(content: bytes, trusted: Iterable[str]) -> Any:  # noqa: ANN401  a fitted estimator
    """Return the estimator in an archive; types that are neither skops' own choice nor trusted are refused.

    Args:
        content: As ``written`` returns it.
        trusted: Full names, of those that ``types_to_trust`` returns.

    Raises:
        TypeError: If it holds other types; it names them.
        ValueError: If it is no archive of skops.
    """
    from skops.io import loads

    trusted = set(trusted)
    others = [name for name in types_to_trust(content) if name not in trusted]
    if others:
        raise TypeError(f"it holds types that are not trusted: {', '.join(others)}")
    return loads(content, trusted=[*trusted, *CONTAINERS])


def types_of_its_own(names: Iterable[str], estimator: Any) -> list[str]:  # noqa: ANN401  any estimator
    """Return those types that an estimator brings: classes made in its package, and functions among its parameters.

    Its package is also that of each estimator inside it, such as the steps of a pipeline. A name that is only imported
    there, such as a module's of Python, is none of its own.
    """
    parts = _parts(estimator)
    packages = {type(part).__module__.partition(".")[0] for part in parts if hasattr(part, "get_params")}
    packages.add(type(estimator).__module__.partition(".")[0])
    functions = {f"{part.__module__}.{part.__qualname__}" for part in parts if inspect.isfunction(part)}
    return [name for name in names if name in functions or any(_is_made_in(package, name) for package in packages)]


def _parts(estimator: Any) -> list[Any]:  # noqa: ANN401  any estimator
    """The estimator and the values of all parameters in it, to any depth."""
    parameters = estimator.get_params(deep=True) if hasattr(estimator, "get_params") else {}
    return [estimator, *parameters.values()]


def _is_made_in(package: str, name: str) -> bool:
    if not name.startswith(f"{package}."):
        return False
    try:
        resolved_object = pkgutil.resolve_name(name)
    except (ImportError, AttributeError):
        return False
    return inspect.isclass(resolved_object) and resolved_object.__module__.partition(".")[0] == package


def _without_addresses(content: bytes) -> bytes:
    """Return the same skops archive with its objects and files numbered in order, and without times.

    skops names objects by where they lay in memory, and bytes at random: two fits that are equal would have other
    bytes, and the stages that are taught by them other teachers.
    """
    with ZipFile(BytesIO(content)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    schema = files.pop("schema.json").decode()
    numbers = _numbers(re.findall(r'"__id__": (\d+)', schema))
    schema = re.sub(r'"__id__": (\d+)', lambda match: f'"__id__": {numbers[match[1]]}', schema)
    places = _numbers(name for name in re.findall(r'"file": "([^"]+)"', schema) if name in files)
    renamed = {name: f"{place}{Path(name).suffix}" for name, place in places.items()}
    schema = re.sub(r'"file": "([^"]+)"', lambda match: f'"file": "{renamed.get(match[1], match[1])}"', schema)
    written = BytesIO()
    with ZipFile(written, "w") as archive:
        for name, part in [("schema.json", schema.encode()), *((renamed[old], files[old]) for old in renamed)]:
            archive.writestr(ZipInfo(name), part)
    return written.getvalue()


def _numbers(found: Iterable[str]) -> dict[str, str]:
    """What is found, numbered in the order in which it is first seen."""
    return {old: str(new) for new, old in enumerate(dict.fromkeys(found))}
