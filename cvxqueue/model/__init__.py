"""The model: accuracy curves, service laws, queues and the instance that joins them."""

from cvxqueue.model.accuracy import AccuracyCurve, SaturatingExponential
from cvxqueue.model.evaluation import Evaluation
from cvxqueue.model.instance import Instance, Metrics
from cvxqueue.model.queue import FIFO, Queue
from cvxqueue.model.service import AffineService, ServiceLaw

__all__ = [
    "FIFO",
    "AccuracyCurve",
    "AffineService",
    "Evaluation",
    "Instance",
    "Metrics",
    "Queue",
    "SaturatingExponential",
    "ServiceLaw",
]
