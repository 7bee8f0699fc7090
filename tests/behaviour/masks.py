"""What is left out of a recording, in one place: what differs between two runs of the same code, or two machines.

- A hash, an execution's id and a run's id become a name with a number, in the order in which they first appear: which
  of them are the same stays visible, what they are does not. A SHA-256 of a file with times in it has no number.
- Numbers that were measured become N; times, sizes in bytes and what a machine is called, too.
- The versions of libraries, and the arguments that torch's own classes have by default.
- Metrics that only some machines have: of memory, and how many scores could not be computed.
- Of the table that compares stages, all cells but the first; of a finding, all that follows the colon.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

ROOT = Path(__file__).parents[2]

#: Keys of records whose numbers are a matter of time or of the machine.
UNSTEADY = {
    "created", "started", "ended", "finished", "time", "seconds", "evaluation_seconds", "memory_bytes", "size", "bytes",
    "sent_bytes", "host", "machine", "pid", "worker", "best", "experiment_id",
}  # fmt: skip
#: Below these keys a number is a setting, not a measurement.
SETTINGS = {"config", "parameters", "params", "stages", "arguments", "init_args", "shown"}
#: No setting is so large; a time in milliseconds is.
LATE = 10**12
COUNTED = {"cost/parameters", "cost/bytes"}
#: Arguments of a library's class that these experiments set; its other ones are the library's.
OWN_ARGUMENTS = {"lr", "weight_decay"}
LEFT_OUT = re.compile(r"memory|_nan$|optimizer\.(?!lr$|weight_decay$)|^version\.")

HASHES = (
    ("EXECUTION", re.compile(r"\b\d{8}-\d{6}-[0-9a-f]{4}\b")),
    ("RUN", re.compile(r"(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])")),
    ("HASH", re.compile(r"(?<![0-9a-f])(?:[0-9a-f]{20}|[0-9a-f]{12})(?![0-9a-f])")),
)
TEXTS = (
    (re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])"), "SHA256"),
    (re.compile(r"(?<=: )\d+\.\d s  (val/accuracy )\d\.\d+"), r"N s  \1N"),
    (re.compile(r"about \d+ (s|min)\b"), "about N s"),
    (re.compile(r"value +[-\d.e]+"), "value N"),
    (re.compile(r" +\d+% of the gradient"), " N% of the gradient"),
    (re.compile(r"is \d+(\.\d+)? points of accuracy"), "is N points of accuracy"),
    (re.compile(r"^(- [^:\n]+ against [^:\n]+: ).*$", re.MULTILINE), r"\1…"),
    (re.compile(r"alpha[ =][\d.]+(?=[,)])"), "alpha=N"),
    (re.compile(r"\d+(\.\d+)? (B|kB|MB)\b"), "N bytes"),
    (re.compile(r"(behaviour-\d{4})-[0-9a-f]{4}\b"), r"\1-ID"),
    (re.compile(r"\b\d+\.\d{9,}"), "N"),
    (re.compile(r"worker-(\d)-\d+\.log"), r"worker-\1-PID.log"),
    (re.compile(r"/\d{13}\b"), "/TIME"),
    # A new class of a family changes nothing here.
    (re.compile(r"(?<=; its )(\w+) are [^;]*"), r"\1 are …"),
    # Python writes these otherwise from version to version.
    (re.compile(r"choose from [^)]*"), lambda match: match.group().replace("'", "")),
)
ADDRESS = re.compile(r"http://\S+")
RULE = re.compile(r"^[─━]+$")


class Masks:
    """Masks texts and records; what is the same in two of them gets the same name in both."""

    def __init__(self, project: Path) -> None:
        self._places = {str(project.resolve()): "PROJECT", str(ROOT): "ROOT"}
        self._names: dict[str, str] = {}

    def text(self, text: str) -> str:
        """The text without what differs from run to run."""
        for place, name in self._places.items():
            text = text.replace(place, name)
        text = ADDRESS.sub(lambda match: unquote(match.group()), text)
        for kind, pattern in HASHES:
            text = pattern.sub(lambda match, kind=kind: self._name(kind, match.group()), text)
        for pattern, mask in TEXTS:
            text = pattern.sub(mask, text)
        return text

    def _name(self, kind: str, value: str) -> str:
        numbered = sum(name.startswith(f"{kind}-") for name in self._names.values())
        return self._names.setdefault(value, f"{kind}-{numbered + 1}")

    def printed(self, text: str) -> str:
        """What a command printed, line by line; a table's cells are cut, and the notes below it stand in one line."""
        lines = [line.rstrip() for line in text.splitlines()]
        rules = [number for number, line in enumerate(lines) if RULE.match(line)]
        for rule in reversed(rules):
            first = max(number for number in range(rule) if lines[number].startswith("stage")) - 2
            last = next(n for n in range(rule, len(lines)) if lines[n].startswith(("- ", "report:")))
            majority = next(n for n in range(rule, last) if lines[n].startswith("majority class"))
            heading = [" ".join(line.split()) for line in lines[first:rule]]
            rows = [re.split(r"\s{2,}", line)[0] for line in lines[rule + 1 : majority + 1]]
            notes = " ".join(" ".join(lines[majority + 1 : last]).split())
            lines[first:last] = [*heading, *rows, notes]
        return self.text("\n".join(lines))

    def record(self, value: Any, keys: tuple[str, ...] = ()) -> Any:
        """JSON with its keys and types, and those values that are the same each time."""
        if isinstance(value, Mapping):
            items = self._of_library(value) if _is_of_library(value) else value
            return {
                self.text(key): self.record(item, (*keys, key))
                for key, item in items.items()
                if not LEFT_OUT.search(key)
            }
        if isinstance(value, list):
            return [self.record(item, keys) for item in value]
        if isinstance(value, bool) or value is None:
            return value
        if UNSTEADY & set(keys[-1:]) or {"versions", "code"} & set(keys[-2:]):
            return type(value).__name__
        if isinstance(value, str):
            return self.text(markdown(value)).splitlines() if keys[-1:] == ("description",) else self.text(value)
        if isinstance(value, int):
            return value if "files" not in keys and value < LATE else "int"
        # A number that a sampler drew has more digits than one that somebody wrote.
        written = len(str(value)) < 9 and (SETTINGS | COUNTED) & set(keys)
        return value if written else "float"

    def _of_library(self, call: Mapping[str, Any]) -> dict[str, Any]:
        arguments = next(key for key in ("init_args", "arguments") if key in call)
        own = {name: value for name, value in call[arguments].items() if name in OWN_ARGUMENTS}
        return {**call, arguments: own}


def _is_of_library(call: Mapping[str, Any]) -> bool:
    return str(call.get("class_path", call.get("class"))).startswith("torch.")


def markdown(text: str) -> str:
    """A report with its headings, sentences and tables; of a table's rows only the first cell, settings whole."""
    lines, heading = [], ""
    for line in text.splitlines():
        heading = line if line.startswith("#") else heading
        row = line.startswith("| ") and "Settings" not in heading and lines and lines[-1].startswith("| ")
        if not LEFT_OUT.search(line.replace("\\", "").split(" | ")[0]):
            # Whether a prediction's memory could be measured is a matter of luck.
            lines.append(line.split(" | ")[0] + " | …" if row else re.sub(r" \| Memory [^|]*(?= \|)", "", line))
    return "\n".join(lines)
