"""The model: accuracy curves, service laws, queues and the instance that joins them."""

from cvxqueue.model.accuracy import AccuracyCurve
from cvxqueue.model.affine_service import AffineService
from cvxqueue.model.assumed import assumed
from cvxqueue.model.constraints import Constraint, CouplingConstraint
from cvxqueue.model.domains import Domains, Integers, LevelMenu, Menu, Multiples, ZeroOrAtLeast
from cvxqueue.model.feasibility import require_feasible
from cvxqueue.model.floors import MinAccuracy, MinMeanAccuracy
from cvxqueue.model.instance import Instance, require_instance
from cvxqueue.model.limits import MaxMeanSystemTime, MaxMeanWaitingTime, MaxTokenRate
from cvxqueue.model.mixed import MixedAccuracy
from cvxqueue.model.model import Evaluation, Model
from cvxqueue.model.piecewise import PiecewiseLinear
from cvxqueue.model.power_law import MichaelisMenten, PowerLaw
from cvxqueue.model.quadratic_service import QuadraticService
from cvxqueue.model.queue_formulas import Delay, Queue
from cvxqueue.model.queues import FIFO, BatchArrivals, ProcessorSharing, Setups, Vacations
from cvxqueue.model.saturating import SaturatingExponential
from cvxqueue.model.service_law import ServiceLaw
from cvxqueue.model.tail import WaitingTimeTail

__all__ = [
    "FIFO",
    "AccuracyCurve",
    "AffineService",
    "BatchArrivals",
    "Constraint",
    "CouplingConstraint",
    "Delay",
    "Domains",
    "Evaluation",
    "Instance",
    "Integers",
    "LevelMenu",
    "MaxMeanSystemTime",
    "MaxMeanWaitingTime",
    "MaxTokenRate",
    "Menu",
    "MichaelisMenten",
    "MinAccuracy",
    "MinMeanAccuracy",
    "MixedAccuracy",
    "Model",
    "Multiples",
    "PiecewiseLinear",
    "PowerLaw",
    "ProcessorSharing",
    "QuadraticService",
    "Queue",
    "SaturatingExponential",
    "ServiceLaw",
    "Setups",
    "Vacations",
    "WaitingTimeTail",
    "ZeroOrAtLeast",
    "assumed",
    "require_feasible",
    "require_instance",
]
