"""What may be believed of an answer, proven from the instance and not from a solver's word."""

from cvxqueue.certificates.accuracy_bound import AccuracyBound, accuracy_model
from cvxqueue.certificates.box_multipliers import lower_multipliers, upper_multipliers
from cvxqueue.certificates.bracket import Bracket, order_bracket
from cvxqueue.certificates.certificate import Certificate, certify
from cvxqueue.certificates.contraction import Contraction, contraction
from cvxqueue.certificates.gap import (
    certified_gap,
    certified_objective,
    relative_gap,
    rounding_allowance,
)
from cvxqueue.certificates.lagrangian_gap import floors_by_rounding, kept_by_rounding
from cvxqueue.certificates.step_size import StepSize, step_size
from cvxqueue.certificates.strong_concavity import StrongConcavity, strong_concavity
from cvxqueue.certificates.token_bounds import token_bounds

__all__ = [
    "AccuracyBound",
    "Bracket",
    "Certificate",
    "Contraction",
    "StepSize",
    "StrongConcavity",
    "accuracy_model",
    "certified_gap",
    "certified_objective",
    "certify",
    "contraction",
    "floors_by_rounding",
    "kept_by_rounding",
    "lower_multipliers",
    "order_bracket",
    "relative_gap",
    "rounding_allowance",
    "step_size",
    "strong_concavity",
    "token_bounds",
    "upper_multipliers",
]
