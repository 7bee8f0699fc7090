"""The installed versions of libraries."""

import hashlib
from functools import lru_cache
from importlib import metadata
from pathlib import Path

from kdlab.configuration.sources import roots


@lru_cache(maxsize=256)
def version_of(package: str) -> str | None:
    """Return the public version of the distribution behind a top-level package, as first found in this process.

    A package on ``PYTHONPATH``, or one that is installed for editing, has no version that tells its states apart, so a
    digest of its files stands for it. The result is None for a package that cannot be found. What comes behind ``+``
    says how a version was built, such as for which GPU, and is left out.
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
        # This reads a file of every distribution, so it is left to packages with another name than their distribution.
        return [metadata.distribution(name) for name in dict.fromkeys(_by_package().get(package, ()))]


@lru_cache(maxsize=1)
def _by_package() -> dict[str, list[str]]:
    """Return the names of distributions by the packages that they provide."""
    return {package: list(names) for package, names in metadata.packages_distributions().items()}


def _brought(distribution: metadata.Distribution, places: list[Path]) -> bool:
    """Whether this distribution, and no other place with a package of the same name, provides the package."""
    home = Path(str(distribution.locate_file(""))).resolve()
    # A compiled module has no file of Python whose place could be compared, so the distribution is believed.
    return not places or any(place.is_relative_to(home) for place in places)


def _content(places: list[Path]) -> str:
    sha256 = hashlib.sha256()
    for place in places:
        for file in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            sha256.update(f"{file.relative_to(place.parent).as_posix()}\n".encode() + file.read_bytes())
    return f"files {sha256.hexdigest()}"
