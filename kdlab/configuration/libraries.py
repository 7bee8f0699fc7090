"""Which version of a library is installed."""

import hashlib
from functools import lru_cache
from importlib import metadata
from pathlib import Path

from kdlab.configuration.sources import roots


@lru_cache(maxsize=256)
def version_of(package: str) -> str | None:
    """The public version of the distribution that a top package comes from, as this process first distribution it.

    A package without a distribution of its own place, as one that stands on ``PYTHONPATH`` or is installed for editing,
    has no version that would tell its states apart: a digest of its files stands for it. None is one that cannot be
    imported. What comes behind ``+`` says how a version was built, such as for which GPU, and is left out.
    """
    places = [place.resolve() for place in roots(package)]
    versions = sorted(
        {
            distribution.version.split("+")[0]
            for distribution in _distributions(package)
            if _brought(distribution, places)
        }
    )
    if versions:
        return " ".join(versions)
    return _content(places) if places else None


def _distributions(package: str) -> list[metadata.Distribution]:
    try:
        return [metadata.distribution(package)]
    except metadata.PackageNotFoundError:
        return [metadata.distribution(name) for name in dict.fromkeys(_by_package().get(package, ()))]


@lru_cache(maxsize=1)
def _by_package() -> dict[str, list[str]]:
    """Distributions by what they can be imported as; it reads a file of each, so only who is named otherwise asks."""
    return {package: list(names) for package, names in metadata.packages_distributions().items()}


def _brought(distribution: metadata.Distribution, places: list[Path]) -> bool:
    """Whether the package lies where the distribution put its files."""
    home = Path(str(distribution.locate_file(""))).resolve()
    return not places or any(place.is_relative_to(home) for place in places)


def _content(places: list[Path]) -> str:
    sha256 = hashlib.sha256()
    for place in places:
        for file in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            sha256.update(f"{file.relative_to(place.parent).as_posix()}\n".encode() + file.read_bytes())
    return f"files {sha256.hexdigest()}"
