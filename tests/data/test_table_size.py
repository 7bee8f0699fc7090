"""A million rows are read within memory."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest

ROWS = 1_000_000
# In a process of its own: the most memory that a process ever had cannot be taken back.
READ = """
import json, resource, sys
from kdlab.data.table import Table
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
data = Table(sys.argv[1], "kind")
data.setup()
used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(json.dumps([data.samples, list(data.shape), data.remarks, used / 2**20]))
"""


@pytest.mark.slow
def test_a_million_rows_of_twenty_columns_are_read_within_two_gib(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    columns = {f"x{number}": draw.normal(size=ROWS).round(3) for number in range(16)}
    columns |= {f"count{number}": draw.integers(0, 1000, ROWS) for number in range(2)}
    columns["member"] = np.array(["yes", "no"])[draw.integers(0, 2, ROWS)]
    columns["kind"] = np.array(["a", "b", "c"])[draw.integers(0, 3, ROWS)]
    pyarrow.csv.write_csv(pa.table(columns), tmp_path / "million.csv")
    command = [sys.executable, "-c", READ, str(tmp_path / "million.csv")]
    answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    samples, shape, remarks, gib = json.loads(answer)
    assert (samples, shape, remarks) == (ROWS, [19], [])
    assert gib < 2
