"""``kdlab look``: say what a file or folder holds, and print the ``data:`` block that reads it."""

import argparse
import os
from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from kdlab.errors import ConfigurationError, listing

if TYPE_CHECKING:
    from kdlab.data.base import DataModule

TABLES = (
    ".csv",
    ".tsv",
    ".txt",
    ".parquet",
    ".pq",
    ".csv.gz",
    ".tsv.gz",
    ".jsonl",
    ".ndjson",
    ".jsonl.gz",
    ".ndjson.gz",
)


def look(parsed: argparse.Namespace) -> None:
    """Print findings as comments, and below them a ``data:`` block that can be copied into an experiment.

    Raises:
        ConfigurationError: If kdlab reads nothing there, or cannot tell what to read.
        ValueError: If a file cannot be read.
    """
    # Imported late, because it loads torch and Arrow, which takes seconds.
    from kdlab.data.paths import resolved

    path = resolved(str(parsed.path))
    tables = tables_at(path)
    if tables:
        from kdlab.commands.look_table import look_at_table

        findings = look_at_table(tables, parsed.target, written)
    elif arrays := arrays_at(path):
        from kdlab.commands.look_arrays import look_at_arrays

        findings = look_at_arrays(arrays, parsed.target, written)
    elif path.is_dir() and parsed.target is None:
        findings = _look_at_images(path)
    else:
        raise ConfigurationError(_unreadable(path))
    for line in findings:
        print(line)


def tables_at(path: Path) -> dict[str, Path]:
    """Return the table to look at under ``train``, and the tables of its other splits; nothing if there is no table.

    Args:
        path: a file or a folder.

    Raises:
        ConfigurationError: If a folder has several tables and none is called train, or two are of one split.
    """
    if path.is_file():
        return {"train": path} if path.name.lower().endswith(TABLES) else {}
    files = sorted(file for file in path.iterdir() if file.is_file() and file.name.lower().endswith(TABLES))
    return _by_split(path, files, "tables", {"train"})


def arrays_at(path: Path) -> dict[str, Path]:
    """Return the NPZ file to look at under ``train``, and the files of its other splits; nothing if there is none.

    Args:
        path: a file or a folder.

    Raises:
        ConfigurationError: If a folder has several files, of which none is called train, none test, or two are of
            one split.
    """
    if path.is_file():
        return {"train": path} if path.suffix.lower() == ".npz" else {}
    return _by_split(path, sorted(path.glob("*.npz")), "arrays", {"train", "test"})


def _by_split(folder: Path, files: Sequence[Path], kind: str, needed: Set[str]) -> dict[str, Path]:
    """Return the files by the split that their names say; a single file is ``train`` whatever it is called."""
    from kdlab.data.tabular.rows import SPLIT_WORDS

    if len(files) < 2:
        return {"train": files[0]} if files else {}
    by_split: dict[str, Path] = {}
    for file in files:
        split = SPLIT_WORDS.get(file.name.partition(".")[0].lower())
        if split is not None and split in by_split:
            raise ConfigurationError(
                f"{folder} has {by_split[split].name} and {file.name}, which are both the {split} split; look at one"
                " of them, or take one away"
            )
        if split is not None:
            by_split[split] = file
    if not needed <= by_split.keys():
        raise ConfigurationError(f"{folder} has the {kind} {listing(file.name for file in files)}; look at one of them")
    return by_split


def written(path: Path) -> str:
    """Return the path as a block has it: below ``${KDLAB_DATA}`` if it lies in that folder."""
    root = os.environ.get("KDLAB_DATA")
    if root and path.is_relative_to(Path(root).absolute()):
        return f"${{KDLAB_DATA}}/{path.relative_to(Path(root).absolute())}"
    return str(path)


def block(class_path: str, arguments: Mapping[str, Any]) -> str:
    """Return the YAML block that builds this data module in an experiment."""
    content = {"data": {"class_path": class_path, "init_args": dict(arguments)}}
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120).rstrip()


def proof(data: "DataModule", name: str) -> Iterator[str]:
    """Read the data as the block does; yield comments that say what they hold and what is left out."""
    from kdlab.data.contents import contents, in_one_line

    data.setup()
    yield f"# {in_one_line(name, data, contents(data))}"
    for remark in data.remarks:
        yield "# " + " ".join(remark.split())


def _look_at_images(folder: Path) -> Iterator[str]:
    from kdlab.data.idx import Idx
    from kdlab.data.image_folder import ImageFolder

    if any(folder.glob("train-images-idx3-ubyte*")):
        yield from proof(Idx(str(folder)), folder.name)
        yield block("Idx", {"folder": written(folder)})
        return
    if not (folder / "train").is_dir() or not (folder / "test").is_dir():
        raise ConfigurationError(_unreadable(folder))
    arguments = yield from _image_arguments(folder)
    yield from proof(ImageFolder(str(folder), **arguments), folder.name)
    yield block("ImageFolder", {"folder": written(folder), **arguments})


def _image_arguments(folder: Path) -> Generator[str, None, dict[str, Any]]:
    """Yield comments on sizes and colours of the images; return the arguments that ``ImageFolder`` needs for them."""
    from PIL import Image, UnidentifiedImageError

    from kdlab.data.image_folder import ENDINGS

    sizes: Counter[tuple[int, int]] = Counter()
    modes: Counter[str] = Counter()
    broken = []
    for file in sorted(folder.glob("*/*/*")):
        if file.suffix.lower() not in ENDINGS:
            continue
        try:
            with Image.open(file) as image:
                sizes[image.size] += 1
                modes[image.mode] += 1
        except (UnidentifiedImageError, OSError, SyntaxError):
            broken.append(str(file.relative_to(folder)))
    for kind, counts in (("sizes", sizes), ("colours", modes)):
        yield f"# {kind}: " + ", ".join(f"{value} in {count:,} images" for value, count in counts.most_common(5))
    empty = [
        str(entry.relative_to(folder))
        for entry in sorted(folder.glob("*/*"))
        if entry.is_dir() and not any(entry.iterdir())
    ]
    for what, names in (("images that cannot be read", broken), ("empty folders", empty)):
        if names:
            yield f"# {what}: {listing(names)}"
    arguments: dict[str, Any] = {}
    # The images of a batch must have one size.
    if len(sizes) > 1:
        arguments["size"] = min(sizes.most_common(1)[0][0])
    if modes and modes.keys() <= {"1", "L", "I;16", "I"}:
        arguments["grey"] = True
    return arguments


def _unreadable(path: Path) -> str:
    """Return the message that says why no block can be printed."""
    if path.is_file():
        return f"{path} is nothing that kdlab reads; endings are {listing([*TABLES, '.npz'])}"
    return (
        f"{path} has no table ({listing(TABLES)}), no arrays (.npz), no train-images-idx3-ubyte, and no train/CLASS/"
        " and test/CLASS/ with images"
    )
