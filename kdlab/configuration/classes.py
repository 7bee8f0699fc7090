"""Find the class that a class path names: short names in an index of kdlab's sources, other paths by importing them."""

import importlib
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kdlab.configuration.document import Place
from kdlab.configuration.sources import folder_classes, kind_of_path, locate, package_classes
from kdlab.errors import first_line, listing, nearest, suggestion

#: Exceptions that importing a user's module may raise.
IMPORT_ERRORS = (ImportError, SyntaxError, ValueError, TypeError, LookupError, AttributeError, NameError, OSError)


def full_path(name: Any, place: Place) -> str:  # noqa: ANN401  what the file says
    """Return the full class path of a short name; a dotted path is returned as it is.

    Raises:
        ConfigurationError: If the name is empty or no text, or kdlab has no class of this name.
    """
    if not isinstance(name, str) or not name:
        raise place.error(f"class_path must be the name of a class, got {name!r}")
    if "." in name:
        return name
    paths = package_classes()
    if name in paths:
        return paths[name]
    outside = [path for path, other in folder_classes(place.document.path.parent).items() if other == name]
    if outside:
        raise place.error(f"{name!r} is not kdlab's own; write its full path {outside[0]!r}")
    # The nearest name tells which kind was meant: a list of all classes would be too long for one line.
    near = nearest(name, paths)
    kind = kind_of_path(paths[near[0]]) if near else None
    members = [other for other, path in paths.items() if kind_of_path(path) == kind]
    raise place.error(
        f"kdlab has no class {name!r}{suggestion(name, paths)}; "
        + (f"its {kind} are {listing(members)}; " if kind else "")
        + "`kdlab list` shows all, and a class outside it needs its full path",
    )


def find(class_path: str, place: Place) -> Callable[..., Any]:
    """Import the class or function at a full path and return it.

    Raises:
        ConfigurationError: If the text is no class path, if its module is missing or cannot be imported, or if the
            module has nothing callable of that name.
    """
    module_name, _, name = class_path.rpartition(".")
    if not module_name or not all(part.isidentifier() for part in class_path.split(".")):
        raise place.error(f"{class_path!r} is no class path, such as package.module.Class")
    try:
        module: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise place.error(_missing(class_path, error.name or "", place.document.path.parent)) from error
    except SyntaxError as error:
        raise place.error(
            f"{class_path!r}: {error.filename}, line {error.lineno}: {error.msg}; mend the file"
        ) from error
    except IMPORT_ERRORS as error:
        raise place.error(f"importing {module_name!r} fails: {type(error).__name__}: {first_line(error)}") from error
    if not hasattr(module, name):
        classes = [key for key, value in vars(module).items() if inspect.isclass(value)]
        own = [key for key in classes if vars(module)[key].__module__ == module_name]
        where = getattr(module, "__file__", None) or "a folder without this file"
        raise place.error(
            f"module {module_name!r} ({where}) has no {name!r}{suggestion(name, classes)}; "
            f"it has {listing(own or classes)}",
        )
    target = getattr(module, name)
    if not callable(target):
        raise place.error(f"{class_path!r} is {type(target).__name__}, neither a class nor a function")
    return target  # type: ignore[no-any-return]  # getattr of a module is Any


def public_path(target: Callable[..., Any]) -> str:
    """Return the shortest path by which a class or function can be imported, so that it has a single name."""
    module, name = target.__module__, target.__qualname__
    parts = module.split(".")
    for count in range(1, len(parts)):
        package = sys.modules.get(".".join(parts[:count]))
        if package is not None and vars(package).get(name) is target:
            return f"{package.__name__}.{name}"
    return f"{module}.{name}"


def add_to_path(folder: Path) -> None:
    """Make modules of the experiment's folder and of the working directory importable, behind installed ones."""
    # Behind them, so that a file with the name of an installed package cannot break what kdlab itself imports.
    for entry in (str(folder.resolve()), str(Path.cwd())):
        if entry not in sys.path:
            sys.path.append(entry)


def _missing(class_path: str, missing: str, folder: Path) -> str:
    module_name, _, name = class_path.rpartition(".")
    if module_name != missing and not module_name.startswith(f"{missing}."):
        # The user's module exists; what is missing is a package that it imports.
        return f"importing {module_name!r} needs the package {missing!r}, which is not installed"
    folders = dict.fromkeys([folder, Path.cwd()])
    if module_name.split(".")[0] == "kdlab":
        paths = package_classes()
        near = [paths[name]] if name in paths else nearest(class_path, paths.values())
    else:
        near = nearest(class_path, folder_classes(folder))
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    top = missing.split(".")[0]
    # Another package of this name may hide the one that was meant, so the message says which one was found.
    file = locate(top)
    location = f" {top!r} is {file};" if file is not None and top != missing else ""
    return (
        f"no module {missing!r} for {class_path!r}{hint};{location} own modules are looked for in "
        f"{listing(str(folder) for folder in folders)} and among installed packages"
    )
