"""Scores every metric on the samples of one of several gloo processes and writes the values down.

python tests/metrics/score_on_ranks.py FOLDER PROCESSES RANK
"""

import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist

from kdlab.testing.metrics import pick, size, update
from tests.metrics import cases


def main(folder: Path, processes: int, rank: int) -> None:
    if processes > 1:
        dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", world_size=processes, rank=rank)
    values = {}
    for name, make in cases.METRICS.items():
        metric, signals = make(), cases.signals_for(name)
        # Uneven shares: four samples here, three there.
        update(metric, pick(signals, torch.arange(rank, size(signals), processes)))
        value = metric.compute()
        parts = value.values() if isinstance(value, dict) else [value]
        values[name] = [float(part) for part in parts]
    (folder / f"values-{processes}-{rank}.json").write_text(json.dumps(values))
    if processes > 1:
        dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
