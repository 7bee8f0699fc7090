"""A network of Hugging Face teaches a small one real texts."""

from pathlib import Path

import pytest

from kdlab.configuration.experiment import read
from kdlab.stages.options import Options
from kdlab.stages.run import run

pytest.importorskip("transformers", reason="the extra hugging-face is not installed")
pytest.importorskip("tokenizers", reason="the extra text is not installed")
EXPERIMENT = """
seeds: [0]
data:
  class_path: Text
  init_args:
    path: {folder}/banking77/train.csv
    test_path: {folder}/banking77/test.csv
    text: text
    target: category
    length: 32
    limit: 1500
trainer: {{max_epochs: 15}}
stages:
  teacher:
    module:
      class_path: Supervised
      init_args:
        model: {{class_path: HuggingFaceText}}
        optimizer: {{class_path: torch.optim.AdamW, init_args: {{lr: 2.0e-3}}}}
  student:
    teacher: teacher
    labelled: 1
    module:
      class_path: Distilled
      init_args:
        model: {{class_path: BagOfEmbeddings, init_args: {{width: 32}}}}
        optimizer: {{class_path: torch.optim.AdamW, init_args: {{lr: 2.0e-2}}}}
        distill: {{soft: {{loss: {{class_path: SoftTargets, init_args: {{temperature: 2.0}}}}, weight: 1.0}}}}
"""


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:term 'task' was exactly zero")
def test_a_student_with_one_label_learns_the_intents_of_bank_customers(real_data: Path, tmp_path: Path) -> None:
    path = tmp_path / "bank.yaml"
    path.write_text(EXPERIMENT.format(folder=real_data))
    outcome = run(read(path), Options(mlruns=tmp_path / "mlruns", accelerator="cpu"))
    teacher, student = (next(iter(node.folder.tests().values())).metrics for node in outcome.nodes)
    # Of 77 intents the most frequent is 1.9 % of the texts. Seen: .49, .50 and .55.
    assert teacher["test/accuracy"] > 0.3
    assert student["test/accuracy"] > 0.3
    assert student["test/fidelity/agreement"] > 0.4
