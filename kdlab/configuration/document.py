"""A YAML file with the place of every key, so that each error can name file and line."""

import copy
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from kdlab.errors import ConfigurationError, nearest

Keys = tuple[str, ...]
#: Levels of the file that a short name leaves out.
LEVELS = ("stages", "module", "init_args")


class _Loader(yaml.SafeLoader):
    """Safe YAML, with numbers like ``1e-3`` as numbers and words like ``on``, ``no`` or ``2024-01-01`` as words."""


# PyYAML follows YAML 1.1, in which ``1e-3`` is a text, ``on`` and ``no`` are booleans and ``2024-01-01`` is a date.
_Loader.yaml_implicit_resolvers = {
    first: [pair for pair in pairs if pair[0].rsplit(":", 1)[1] not in ("bool", "float", "timestamp")]
    for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:(?:\d+\.\d*|\.\d+)(?:[eE][-+]?\d+)?|\d+[eE][-+]?\d+|\.(?:inf|Inf|INF))$|^\.(?:nan|NaN|NAN)$"),
    list("-+0123456789."),
)


@dataclass
class Document:
    """The content of an experiment file, and where each of its keys stands.

    Args:
        path: the file.
        content: what the file says, as plain Python values.
        places: the place of each key as errors name it, ``FILE:LINE``.
    """

    path: Path
    content: dict[str, Any]
    places: dict[Keys, str] = field(default_factory=dict)

    def __truediv__(self, key: object) -> "Place":
        return self.top / key

    @property
    def top(self) -> "Place":
        """The place of the whole file, which holds all others."""
        return Place(self, ())

    def replaced(self, keys: Keys, value: Any, origin: str | None) -> "Document":  # noqa: ANN401  any YAML
        """Return a copy with this value at these keys.

        Args:
            keys: where the value goes; levels that do not exist yet are made.
            value: any YAML.
            origin: where the value comes from, for errors; None if errors should still name the lines of the file.
        """
        content = copy.deepcopy(self.content)
        node: Any = content
        for key in keys[:-1]:
            node = node[int(key)] if isinstance(node, list) else node.setdefault(key, {})
        node[int(keys[-1]) if isinstance(node, list) else keys[-1]] = copy.deepcopy(value)
        if origin is None:
            return Document(self.path, content, self.places)
        # The lines of what was here before would be wrong for the new value.
        places = {other: place for other, place in self.places.items() if other[: len(keys)] != keys}
        return Document(self.path, content, {**places, keys: origin})


@dataclass(frozen=True)
class Place:
    """A place in an experiment file, for errors about what stands there: ``document / "stages" / "student"``."""

    document: Document
    keys: Keys

    def __truediv__(self, key: object) -> "Place":
        return Place(self.document, (*self.keys, str(key)))

    @property
    def value(self) -> Any:  # noqa: ANN401  any YAML
        """The value at this place; None if there is none."""
        node: Any = self.document.content
        for key in self.keys:
            node = node[int(key)] if isinstance(node, list) else (node or {}).get(key)
        return node

    @property
    def above(self) -> "Place":
        """The place that holds this one."""
        return Place(self.document, self.keys[:-1])

    def error(self, message: str) -> ConfigurationError:
        """Return an error of one line: file and line, the name of the place, and the message."""
        above = (self.keys[:count] for count in range(len(self.keys), -1, -1))
        lines = self.document.places
        line = next((lines[keys] for keys in above if keys in lines), self.document.path)
        return ConfigurationError(f"{line}: {short(self.keys)}: {message}")


def short(keys: Keys) -> str:
    """Return the name that users write: the keys without the levels that only the file's form needs."""
    named = [key for key in keys if key not in LEVELS]
    return ".".join(named if named else keys)


def load(path: Path) -> Document:
    """Read a YAML file and note the line of each of its keys.

    Raises:
        ConfigurationError: If the file does not exist, cannot be read, or is no valid YAML or no mapping, or if a key
            occurs twice or is neither a text nor a whole number.
    """
    name = shown(path)
    text = _text(path, name)
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if not isinstance(node, yaml.MappingNode):
                raise ConfigurationError(
                    f"{name}: an experiment is a mapping with the keys data and stages, found "
                    f"{'an empty file' if node is None else 'something else'}"
                )
            places: dict[Keys, str] = {(): name}
            _walk(node, (), places, name, [])
            content = loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark is not None else ""
        began = error.context_mark
        since = f" {error.context} from line {began.line + 1}:" if began is not None and error.context else ""
        raise ConfigurationError(f"{name}{line}: not valid YAML:{since} {error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{name}: not valid YAML: {error}") from error
    return Document(path, content, places)


def parse_value(text: str, origin: str) -> Any:  # noqa: ANN401  any YAML
    """Return the value of one ``key=value`` override, read as YAML.

    Args:
        text: the part behind the ``=``.
        origin: how an error names the override.

    Raises:
        ConfigurationError: If the text is no valid YAML.
    """
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506  a subclass of the safe loader
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{origin}: {text!r} is not valid YAML; quote the value for the shell") from error


def shown(path: Path) -> str:
    """Return the path relative to the working directory if it lies below it, else as it is."""
    absolute, here = path.absolute(), Path.cwd()
    return str(absolute.relative_to(here) if absolute.is_relative_to(here) else path)


def _text(path: Path, name: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        files = {str(file) for folder in {path.parent, Path("experiments")} for file in sorted(folder.glob("*.yaml"))}
        near = [file for file in sorted(files) if Path(file).stem == path.stem] or nearest(str(path), files)
        there = f"did you mean {near[0]}?" if near else f"there is {', '.join(sorted(files)) or 'no *.yaml beside it'}"
        raise ConfigurationError(f"{name}: no such file; {there}") from None
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{name}: not a UTF-8 text file ({error.reason} at byte {error.start})") from error
    except OSError as error:
        raise ConfigurationError(f"{name}: cannot be read: {error.strerror}") from error


def _walk(node: yaml.Node, keys: Keys, places: dict[Keys, str], name: str, above: list[yaml.Node]) -> None:
    """Note the line of every key below this node; refuse keys that occur twice and nodes that contain themselves."""
    if any(node is other for other in above):
        raise ConfigurationError(f"{name}:{node.start_mark.line + 1}: {short(keys)}: this anchor contains itself")
    above = [*above, node]
    if isinstance(node, yaml.SequenceNode):
        for position, item in enumerate(node.value):
            places[(*keys, str(position))] = f"{name}:{item.start_mark.line + 1}"
            _walk(item, (*keys, str(position)), places, name, above)
    if not isinstance(node, yaml.MappingNode):
        return
    seen: dict[str, int] = {}
    for key, value in node.value:
        line = key.start_mark.line + 1
        if key.tag == "tag:yaml.org,2002:merge":
            # A key may replace one that a merge brings, which is not the mistake of writing a key twice.
            for merged in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                _walk(merged, keys, places, name, above)
            continue
        if key.tag not in ("tag:yaml.org,2002:str", "tag:yaml.org,2002:int"):
            raise ConfigurationError(f"{name}:{line}: {short(keys)}: a key must be text; put {key.value!r} in quotes")
        if key.value in seen:
            raise ConfigurationError(
                f"{name}:{line}: the key {short((*keys, key.value))!r} stands twice, first in line {seen[key.value]}; "
                "keep one"
            )
        seen[key.value] = line
        places[(*keys, key.value)] = f"{name}:{line}"
        _walk(value, (*keys, key.value), places, name, above)
