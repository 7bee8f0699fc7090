"""The measures by which stages are compared if an experiment names none."""

from kdlab.callbacks.measure import Measure
from kdlab.metrics.accuracy import Accuracy
from kdlab.metrics.agreement import Agreement, AgreementWhereTeacherErrs
from kdlab.metrics.attribution_agreement import AttributionCosine, AttributionSpearman, AttributionTopKIoU
from kdlab.metrics.auroc import AUROC
from kdlab.metrics.average_precision import AveragePrecision
from kdlab.metrics.calibration_error import CalibrationError
from kdlab.metrics.deletion_auc import DeletionAUC
from kdlab.metrics.divergence import JensenShannon, KLTeacherStudent
from kdlab.metrics.entropy import Entropy
from kdlab.metrics.faithfulness_correlation import FaithfulnessCorrelation
from kdlab.metrics.gini import Gini
from kdlab.metrics.infidelity import Infidelity
from kdlab.metrics.insertion_auc import InsertionAUC
from kdlab.metrics.localisation import PointingGame, RelevanceMassAccuracy, RelevanceRankAccuracy
from kdlab.metrics.macro_f1 import MacroF1
from kdlab.metrics.negative_log_likelihood import NegativeLogLikelihood
from kdlab.metrics.sensitivity import MaxSensitivity

#: Renames by which the explainer's prediction of the student is scored as if the student were its teacher.
AS_TEACHER = {"logits": "explainer_logits", "teacher_logits": "logits"}


def standard_measures(
    classes: int,
    teacher: bool,
    explains: bool,
    explainer: bool,
    mask: bool = False,
    explains_teacher: bool = True,
    tokens: bool = False,
) -> dict[str, Measure]:
    """Return measures by the name under which they are logged; the most expensive ones are computed at test only.

    Args:
        classes: how many classes there are.
        teacher: whether there is a teacher to compare with.
        explains: whether there is a post-hoc method to explain with.
        explainer: whether an explainer is trained with the model.
        mask: whether the data say where the evidence lies.
        explains_teacher: whether the teacher can be explained too.
        tokens: whether inputs are token numbers, which noise cannot change a little.
    """
    measures = {
        "accuracy": Measure(Accuracy()),
        "macro_f1": Measure(MacroF1(classes)),
        "auroc": Measure(AUROC(classes)),
        "average_precision": Measure(AveragePrecision(classes)),
        "nll": Measure(NegativeLogLikelihood()),
        "calibration_error": Measure(CalibrationError(classes)),
    }
    if teacher:
        measures |= {
            "fidelity/agreement": Measure(Agreement()),
            "fidelity/kl_teacher_student": Measure(KLTeacherStudent()),
            "fidelity/js": Measure(JensenShannon()),
            "fidelity/agreement_where_teacher_errs": Measure(AgreementWhereTeacherErrs()),
        }
    if explains:
        measures |= {
            "explanation/deletion_auc": Measure(DeletionAUC()),
            "explanation/insertion_auc": Measure(InsertionAUC()),
            "explanation/gini": Measure(Gini()),
            "explanation/entropy": Measure(Entropy()),
            "explanation/faithfulness_correlation_logits": Measure(FaithfulnessCorrelation(), at_test=True),
        }
    if explains and not tokens:
        measures |= {
            "explanation/infidelity_logits": Measure(Infidelity(normalised=True), at_test=True),
            "explanation/max_sensitivity": Measure(MaxSensitivity(), at_test=True),
        }
    if explains and mask:
        measures |= {
            "explanation/mass_accuracy": Measure(RelevanceMassAccuracy()),
            "explanation/rank_accuracy": Measure(RelevanceRankAccuracy()),
            "explanation/pointing_game": Measure(PointingGame()),
        }
    if explains and teacher and explains_teacher:
        measures |= {
            "explanation/teacher_cosine": Measure(AttributionCosine()),
            "explanation/teacher_spearman": Measure(AttributionSpearman()),
            "explanation/teacher_topk_iou": Measure(AttributionTopKIoU()),
        }
    if explainer:
        measures |= {
            "explainer/agreement": Measure(Agreement(), AS_TEACHER),
            "explainer/kl": Measure(KLTeacherStudent(), AS_TEACHER),
        }
    return measures


#: The names of all measures by which a stage may be scored if an experiment names none.
STANDARD = tuple(standard_measures(2, teacher=True, explains=True, explainer=True, mask=True))
