"""What of a checked configuration decides a result: its values in JSON, with digests of the files that they name."""

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

#: A text longer than this is no path.
_LONGEST = 1024
_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")


@dataclass(frozen=True)
class ValueDigests:
    """Turns nodes into JSON, in which every text that names a file or folder stands with the digest of what it holds.

    A path is understood as kdlab's classes understand it: ``~`` and ``${VARIABLE}`` are expanded, and a relative one is
    looked for in the working directory, in the experiment's folder, and beside an own class that is given it; wherever
    it is found it counts. A path below the experiment's folder or the working directory stands relative to the former,
    so that both may move together.

    Args:
        here: the working directory.
        folder: the experiment's.
        contents: digests of files.
        through: whether the content of a folder counts; where callbacks write to it, it must not.
    """

    here: Path
    folder: Path
    contents: Contents
    through: bool = True

    @property
    def folders(self) -> tuple[Path, Path]:
        """Where a user's modules and files lie."""
        return self.here, self.folder

    def of(self, value: Value, near: Path | None = None) -> Any:  # noqa: ANN401  any JSON
        """The value in JSON; ``near`` is the folder of the own class that is given it.

        The order of a call's arguments is that of its signature and does not count. That of further keywords and of
        the entries of a mapping does: terms of a loss are built and summed in it.
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
        """The arguments of a call, some of them left out."""
        file = own_file(module_of(call), self.folders)
        near = None if file is None else file.parent
        values = {
            name: self.of(value, near)
            for name, value in call.arguments.items()
            if name not in left_out and as_json(value) is not Opaque.VALUE
        }
        parameters = signature_of(call.target).parameters
        further = [[name, value] for name, value in values.items() if name not in parameters]
        return {"arguments": {name: v for name, v in values.items() if name in parameters}, "further": further}

    def paths(self, text: str, near: Path | None = None) -> list[Path]:
        """Where this text leads to a file or folder."""
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
        return {"path": self._shown(text), "content": sorted({self.contents.of(path) for path in paths})}

    def _counts(self, path: Path) -> bool:
        """Whether what stands there decides anything: a folder that holds the project is no argument's own."""
        if not path.is_dir():
            return path.is_file()
        holds = any(place.resolve().is_relative_to(path.resolve()) for place in self.folders)
        return self.through and not holds

    def _shown(self, text: str) -> str:
        if not Path(text).is_absolute():
            return text
        inside = any(Path(text).is_relative_to(place) for place in self.folders)
        return os.path.relpath(text, self.folder) if inside else text


def module_of(call: Call) -> str:
    """The module in which a class stands; nothing where it does not say."""
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
        yield value.rpartition(".")[0]
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from modules_of(item)
    elif isinstance(value, list | tuple | set | frozenset):
        for item in value:
            yield from modules_of(item)
