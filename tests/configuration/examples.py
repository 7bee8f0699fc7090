"""An experiment with every kind of stage, small enough to change by replacing a text."""

from pathlib import Path

EXPERIMENT = """\
seeds: [0, 1]
data: {class_path: Digits, init_args: {batch_size: 64}}
trainer: {max_epochs: 2}
evaluate:
  explainer: {class_path: InputGradient}
  metrics:
    top3: {class_path: torchmetrics.classification.MulticlassAccuracy, init_args: {num_classes: 10, top_k: 3}}
    mimicry: {class_path: torchmetrics.MeanSquaredError, takes: {preds: logits, target: teacher_logits}}
  probe: 32
quick: {seeds: 1, trainer.max_epochs: 1}
stages:
  student:
    teacher: teacher
    labelled: 100
    module:
      class_path: Distilled
      init_args:
        model: &student {class_path: MLP, init_args: {inputs: 64, classes: 10, hidden: [16]}}
        alpha: 1
        distill:
          soft: {loss: {class_path: SoftTargets, init_args: {temperature: 4.0}}, weight: 1.0}
        optimizer: {class_path: torch.optim.SGD, init_args: {lr: 1e-1}}
        scheduler: {class_path: torch.optim.lr_scheduler.StepLR, init_args: {step_size: 3}}
  teacher:
    module:
      class_path: Supervised
      init_args: {model: {class_path: MLP, init_args: {inputs: 64, classes: 10}}}
  baseline:
    labelled: 100
    module: {class_path: Supervised, init_args: {model: *student}}
  joint:
    teacher: teacher
    labelled: 100
    trainer: {gradient_clip_val: 0.5}
    callbacks: [{class_path: lightning.pytorch.callbacks.EMAWeightAveraging, init_args: {decay: 0.9}}]
    module:
      class_path: Joint
      init_args:
        model: *student
        distill:
          soft: {loss: {class_path: SoftTargets}}
          maps:
            loss: {class_path: torch.nn.MSELoss}
            takes: {input: attributions, target: teacher_attributions}
            explainer: {class_path: InputGradient}
        explainer: {class_path: NeuralSurrogate, init_args: {inputs: 64, classes: 10}}
"""


def write(folder: Path, *changes: tuple[str, str], name: str = "small.yaml") -> Path:
    """The experiment as a file, with each old text, which must stand in it, replaced by the new one."""
    text = EXPERIMENT
    for old, new in changes:
        assert old in text, f"{old!r} does not stand in the experiment"
        text = text.replace(old, new, 1)
    path = folder / name
    path.write_text(text)
    return path
