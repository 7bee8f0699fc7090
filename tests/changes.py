"""Changes of a project, by what they change: those that train stages again, and those that must not."""

import gzip
import os
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import torch

from tests.data.made_up import write_idx, write_image_folder
from tests.projects import Project

ALL = {"teacher", "baseline", "student"}
TAUGHT = {"teacher", "student"}
OWNERS = {"baseline", "student"}


def rewrite(file: Path) -> None:
    """Other content of the same size and time, which only who reads it notices."""
    before = file.stat()
    file.write_bytes(bytes((byte + 1) % 256 for byte in file.read_bytes()))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def vector(project: Project) -> None:
    rewrite(project.folder / "parts" / "vector.npy")


Step = Callable[[Project], object]


def data(class_path: str, **arguments: object) -> Step:
    return lambda project: project.content.update(data={"class_path": class_path, "init_args": arguments})


def given(*keys: str, **arguments: object) -> Step:
    """Put arguments at a place of the experiment."""
    return lambda project: project.at(*keys).update(arguments)


def both(*steps: Step) -> Step:
    def taken(project: Project) -> None:
        for one in steps:
            one(project)

    return taken


def nothing(project: Project) -> None:
    """The project as it is."""


def coded(name: str, old: str, new: str) -> Step:
    return lambda project: project.edit(name, old, new)


def reordered(project: Project) -> None:
    terms = project.arguments("student")["distill"]
    project.arguments("student")["distill"] = dict(reversed(terms.items()))


def relayered(project: Project) -> None:
    layers = project.at("stages", "student", "module", "init_args", "distill", "hints")["layers"]
    project.arguments("student")["distill"]["hints"]["layers"] = dict(reversed(layers.items()))


def weighted(number: float) -> Step:
    return lambda project: torch.save({"weight": torch.tensor(number)}, project.folder / "parts" / "net.pt")


def picture(project: Project) -> None:
    files = sorted((project.folder / "images" / "train" / "class0").glob("*.png"))
    files[0].write_bytes(files[1].read_bytes())


def _swap(folder: Path) -> None:
    file = folder / "train-images-idx3-ubyte.gz"
    content = bytearray(gzip.decompress(file.read_bytes()))
    content[-1] ^= 255
    file.write_bytes(gzip.compress(bytes(content), mtime=0))


def idx(seed: int) -> Step:
    return lambda project: (
        write_idx(project.folder / "idx", train=40, test=8, size=4, classes=2)
        and (None if seed == 0 else _swap(project.folder / "idx"))
    )


def values(project: Project) -> None:
    (project.experiments / "values.txt").write_text(" ".join(map(str, range(1, 13))))


def inside(project: Project) -> None:
    (project.folder / "parts" / "further.npy").write_bytes(b"1")


IMAGES = both(
    lambda project: write_image_folder(project.folder / "images", train=4, test=2, size=4, classes=2),
    data("ImageFolder", folder="${HOME}/images", batch_size=4),
)
FILE = "parts/vector.npy"
NET, SCORE = ("stages", "baseline", "module", "init_args", "model", "init_args"), ("evaluate", "metrics", "score")
LOSS = ("stages", "student", "module", "init_args", "distill", "near", "loss", "init_args")
EXPLAINER = ("evaluate", "explainer", "init_args")
HOOK = given("stages", "baseline", callbacks=[{"class_path": "owned.Hook", "init_args": {"file": FILE}}])
HINTS = {"hints": {"loss": {"class_path": "FitNets"}, "layers": {"layers.0": "layers.0", "layers.2": "layers.2"}}}
BY_SCORE, BY_QUALITY = (
    given("stages", "baseline", monitor="val/score"),
    given("stages", "baseline", monitor="val/quality"),
)
BY_FIDELITY = given("stages", "baseline", monitor="val/fidelity/agreement")
BY_DELETION = given("stages", "baseline", monitor="val/explanation/deletion_auc")
LIMITS = ("limit_train_batches", "limit_val_batches", "val_check_interval", "overfit_batches")

#: What trains again: how the project is made ready, what is changed, and which stages that concerns.
CHANGES: dict[str, tuple[Step, Step, set[str]]] = {
    "a cell of a CSV": (nothing, lambda p: p.write_table(first=0.6), ALL),
    "a cell of a CSV named by a variable": (
        data("Table", path="${HOME}/data/table.csv", target="kind"), lambda p: p.write_table(first=0.6), ALL,
    ),
    "a cell of a CSV below ~": (
        data("Table", path="~/data/table.csv", target="kind"), lambda p: p.write_table(first=0.6), ALL,
    ),
    "a feature's name": (nothing, lambda p: p.write_table(size="length"), ALL),
    "a class's name": (nothing, lambda p: p.write_table(kind="c"), ALL),
    "a picture of an image folder": (IMAGES, picture, ALL),
    "a pixel of an IDX file": (both(idx(0), data("Idx", folder="idx", val_size=8, batch_size=4)), idx(1), ALL),
    "what an own load() reads": (data("owned_data.Own", batch_size=4), values, ALL),
    "what a foreign module says of its content": (data("owned_data.Honest"), values, ALL),
    "a file in a foreign module's folder": (data("owned_data.Foreign", folder="parts"), inside, ALL),
    "the baseline of own data": (
        data("owned_data.Own", batch_size=4),
        coded("owned_data", "    def load(self)", "    def baseline_of(self, x): return x[0]\n\n    def load(self)"),
        ALL,
    ),
    "the batch size": (nothing, given("data", "init_args", batch_size=5), ALL),
    "a model's file": (given(*NET, file=FILE), vector, {"baseline"}),
    "a model's file named by a variable": (given(*NET, file="${PARTS}/vector.npy"), vector, {"baseline"}),
    "a model's file below ~": (given(*NET, file="~/parts/vector.npy"), vector, {"baseline"}),
    "a model's file beside its class": (
        both(lambda p: (p.experiments / "list.txt").write_text("1"), given(*NET, file="list.txt")),
        lambda p: rewrite(p.experiments / "list.txt"), {"baseline"},
    ),
    "a file in a model's folder": (given(*NET, file="parts"), vector, {"baseline"}),
    "a further file in a model's folder": (given(*NET, file="parts"), inside, {"baseline"}),
    "a loss's file": (given(*LOSS[:-1], init_args={"file": FILE}), vector, {"student"}),
    "a callback's file": (HOOK, vector, {"baseline"}),
    "the file of the metric that chooses": (
        both(BY_SCORE, given(*SCORE, init_args={"file": FILE})), vector, {"baseline"},
    ),
    "the file of the explainer behind it": (
        both(BY_QUALITY, given(*EXPLAINER[:-1], init_args={"file": FILE})), vector, {"baseline"},
    ),
    "weights that a stage starts from": (
        both(weighted(1), given("stages", "baseline", weights="parts/net.pt")), weighted(2), {"baseline"},
    ),
    **{
        f"{name} 1 and 1.0": (given("trainer", **{name: 1}), given("trainer", **{name: 1.0}), ALL)
        for name in LIMITS
    },
    "1 and 1.0 where an own class takes both": (given(*NET, extra=1), given(*NET, extra=1.0), {"baseline"}),
    "which metric chooses": (nothing, BY_SCORE, {"baseline"}),
    "the settings of the metric that chooses": (BY_SCORE, given(*SCORE, init_args={"times": 2.0}), {"baseline"}),
    "the renames of the metric that chooses": (
        BY_SCORE, given(*SCORE, takes={"logits": "inputs"}), {"baseline"},
    ),
    "a metric of its own under a standard name that chooses": (
        nothing, given("evaluate", metrics={"accuracy": {"class_path": "owned.Score"}}), ALL,
    ),
    "the explainer behind a metric that chooses": (
        BY_QUALITY, given("evaluate", explainer={"class_path": "InputGradient"}), {"baseline"},
    ),
    "the probe behind a metric that chooses": (BY_QUALITY, given("evaluate", probe=5), {"baseline"}),
    "the explainer behind a standard metric": (
        BY_DELETION, given("evaluate", explainer={"class_path": "InputGradient"}), {"baseline"},
    ),
    "the teacher that the metric compares with": (
        BY_FIDELITY, lambda p: p.arguments("teacher").update(task_weight=2), ALL,
    ),
    "the order of terms": (nothing, reordered, {"student"}),
    "the order of layers": (
        lambda p: p.arguments("student").update(distill=deepcopy(HINTS)), relayered, {"student"},
    ),
    "the code of an own class": (nothing, coded("owned", "nn.Linear(width, 2)", "nn.Linear(width, 2, False)"), OWNERS),
    "a module that it imports": (nothing, coded("helping", "deeper.VALUE", "-deeper.VALUE"), OWNERS),
    "a module behind that": (nothing, coded("deeper", "2.0", "3.0"), OWNERS),
    "a default argument": (nothing, coded("owned", "extra: float | int = 0.5", "extra: float | int = 0.6"), OWNERS),
    "a value": (nothing, given(*NET, width=5), {"baseline"}),
    "a teacher": (nothing, lambda p: p.arguments("teacher").update(task_weight=2), TAUGHT),
    "how many epochs": (nothing, given("trainer", max_epochs=3), ALL),
    "how many labels": (nothing, given("stages", "baseline", labelled=6), {"baseline"}),
}  # fmt: skip

PLACED = both(given(*NET, file=FILE), given(*LOSS[:-1], init_args={"file": "${PARTS}/vector.npy"}))


def sorted_keys(project: Project) -> None:
    """Arguments, stages and top-level keys in another order."""
    project.content = dict(sorted(project.content.items()))
    project.content["stages"] = dict(sorted(project.content["stages"].items()))
    for one in project.content["stages"].values():
        one["module"]["init_args"] = dict(sorted(one["module"]["init_args"].items()))


def renamed(project: Project) -> None:
    stages = project.content["stages"]
    project.content["stages"] = {
        "teacher": stages["teacher"],
        "alone": stages["baseline"],
        "student": stages["student"],
    }


def shouted(project: Project) -> None:
    for name in ("owned", "helping"):
        file = project.experiments / f"{name}.py"
        file.write_text("# A comment.\n" + file.read_text() + "\n\n# The end.\n")
    project.edit("owned", "class Net(nn.Module):", 'class Net(nn.Module):\n    """A text."""')


def unrelated(project: Project) -> None:
    (project.experiments / "other.py").write_text("VALUE = 1\n")
    (project.folder / "README.md").write_text("text")
    (project.folder / "mlruns" / "stages").mkdir(parents=True)


#: What trains nothing: how the project is made ready, and what is changed.
KEPT: dict[str, tuple[Step, Step]] = {
    "nothing": (nothing, nothing),
    "the order of keys": (nothing, sorted_keys),
    "a stage's name": (nothing, renamed),
    "comments, docstrings and layout": (nothing, shouted),
    "the experiment's name": (nothing, given(name="other")),
    "how many seeds": (nothing, given(seeds=[0])),
    "a file that nobody names": (nothing, unrelated),
    "another metric's settings": (nothing, given(*SCORE, init_args={"times": 2.0})),
    "another metric's file": (given(*SCORE, init_args={"file": FILE}), vector),
    "another metric": (nothing, given("evaluate", "metrics", more={"class_path": "owned.Score"})),
    "the explainer where none chooses": (nothing, given("evaluate", explainer={"class_path": "InputGradient"})),
    "the probe where none chooses": (nothing, given("evaluate", probe=5)),
    "the probe where the metric needs none": (BY_SCORE, given("evaluate", probe=5)),
    "how often is explained": (nothing, given("evaluate", every=3)),
    "1 and 1.0 where a number with a fraction is meant": (
        nothing, lambda p: p.arguments("student").update(alpha=1.0),
    ),
    "a default that is written out": (nothing, lambda p: p.arguments("baseline").update(task_weight=1)),
    "a file's time": (given(*NET, file=FILE), lambda p: os.utime(p.folder / FILE, (1, 1))),
    "a CSV that moved": (
        nothing,
        lambda p: (p.folder / "data" / "table.csv").rename(p.folder / "moved.csv")
        and p.at("data", "init_args").update(path="${HOME}/moved.csv"),
    ),
    "what others put into a folder": (
        given(*NET, file="parts"), lambda p: (p.folder / "parts" / ".DS_Store").write_text("x"),
    ),
    "a folder that a callback writes to": (
        given("stages", "baseline", callbacks=[{"class_path": "owned.Hook", "init_args": {"file": "parts"}}]), inside,
    ),
    "a folder that holds the project": (given(*NET, file="."), inside),
}  # fmt: skip
