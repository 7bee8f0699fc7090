"""Configured values as JSON, with digests of the files that they name, as fingerprints need them."""

import inspect
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdlab.configuration.calls import Call, Opaque, Value, as_json
from kdlab.configuration.code import own_file
from kdlab.configuration.contents import Contents
from kdlab.configuration.signatures import signature_of
from kdlab.data.paths import expanded

#: A text with more characters than this is not taken for a path.
_LONGEST = 1024
_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")


@dataclass(frozen=True)
class ValueDigests:
    """Turns configured values into JSON, where a text that names a file or folder has a digest of its content with it.

    A path is understood as kdlab's classes understand it: ``~`` and ``${VARIABLE}`` are expanded, and a relative path
    is looked for in the working directory, in the experiment's folder, and beside the module of the user's class that
    is given it. It counts wherever it is found. An absolute path below one of the two folders is written relative to
    the experiment's folder, so that both folders may move together.

    Args:
        here: the working directory.
        folder: the experiment's folder.
        contents: digests of files.
        through: whether the contents of folders count. They must not where callbacks write into the folders.
    """

    here: Path
    folder: Path
    contents: Contents
    through: bool = True

    @property
    def folders(self) -> tuple[Path, Path]:
        """The working directory and the experiment's folder, in which a user's modules and files are."""
        return self.here, self.folder

    def of(self, value: Value, near: Path | None = None) -> Any:  # noqa: ANN401  any JSON
        """Return the value as JSON.

        The order of a call's arguments does not count, because their signature fixes it. The order of further keywords,
        and of the entries of a mapping, counts: the terms of a loss are built and summed in that order.

        Args:
            value: any configured value.
            near: the folder of the user's class that is given the value; None for a class from elsewhere.
        """
        if isinstance(value, Call):
            return {"class": value.class_path, **self.arguments(value)}
        if isinstance(value, Mapping):
            return {"entries": [[str(name), self.of(item, near)] for name, item in value.items()]}
        if isinstance(value, list | tuple):
            return [self.of(item, near) for item in value]
        value = as_json(value)
        if isinstance(value, list):
            return [self.of(item, near) for item in value]
        if value is Opaque.VALUE:
            return Opaque.VALUE.value
        return self._of_text(value, near) if isinstance(value, str) else value

    def arguments(self, call: Call, left_out: Sequence[str] = ()) -> dict[str, Any]:
        """Return the arguments of a call as JSON, except those named in ``left_out``."""
        file = own_file(module_of(call), self.folders)
        near = None if file is None else file.parent
        values = {
            name: self.of(value, near)
            for name, value in call.arguments.items()
            if name not in left_out and as_json(value) is not Opaque.VALUE
        }
        parameters = signature_of(call.target).parameters
        # Further keywords are a list, because fingerprints ignore the order of a mapping.
        further = [[name, value] for name, value in values.items() if name not in parameters]
        return {"arguments": {name: v for name, v in values.items() if name in parameters}, "further": further}

    def paths(self, text: str, near: Path | None = None) -> list[Path]:
        """Return the files and folders to which this text leads, from ``near`` too; none if it is no path."""
        if not text or len(text) > _LONGEST or "\0" in text or "\n" in text:
            return []
        try:
            path = expanded(text)
        except (ValueError, RuntimeError):  # a variable or a user that does not exist
            return []
        places = [place / path for place in (*self.folders, *([] if near is None else [near]))]
        return [place for place in dict.fromkeys(places) if os.path.exists(place)]  # noqa: PTH110  never raises

    def _of_text(self, text: str, near: Path | None) -> Any:  # noqa: ANN401  any JSON
        paths = [path for path in self.paths(text, near) if self._counts(path)]
        if not paths:
            return text
        # Nobody but the class knows in which of these places it will look, so all of them count.
        return {"path": self._shown(text), "content": sorted({self.contents.of(path) for path in paths})}

    def _counts(self, path: Path) -> bool:
        """Whether the content of this path decides a result; that of a folder around the project does not."""
        if not path.is_dir():
            return path.is_file()
        # Such a folder, for example ``.``, would change with every file of the project.
        holds = any(place.resolve().is_relative_to(path.resolve()) for place in self.folders)
        return self.through and not holds

    def _shown(self, text: str) -> str:
        if not Path(text).is_absolute():
            return text
        inside = any(Path(text).is_relative_to(place) for place in self.folders)
        return os.path.relpath(text, self.folder) if inside else text


def module_of(call: Call) -> str:
    """Return the name of the module that defines a call's class; an empty text if the class does not say."""
    return getattr(call.target, "__module__", None) or ""


def modules_of(value: Value) -> Iterator[str]:
    """The modules of all classes that a configuration names, as class paths or as values."""
    if isinstance(value, Call):
        yield module_of(value)
        for argument in value.arguments.values():
            yield from modules_of(argument)
    elif inspect.isclass(value) or inspect.isroutine(value):
        yield getattr(value, "__module__", None) or ""
    elif isinstance(value, str) and _DOTTED.fullmatch(value):
        # A text such as ``own.network.Net`` may name a class that the constructor imports by itself.
        yield value.rpartition(".")[0]
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from modules_of(item)
    elif isinstance(value, list | tuple | set | frozenset):
        for item in value:
            yield from modules_of(item)
