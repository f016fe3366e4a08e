"""From measurements to an instance: service line, accuracy curves, arrivals, and their readers."""

from cvxqueue.fitting.arrival_rate import ArrivalFit, fit_arrivals
from cvxqueue.fitting.curve import CurveFit, fit_curve
from cvxqueue.fitting.diagnosis import Diagnosis, diagnose
from cvxqueue.fitting.fit import Fit, fit
from cvxqueue.fitting.goodness import Goodness
from cvxqueue.fitting.readers import read_answers, read_requests
from cvxqueue.fitting.records import Answers, Requests, Source
from cvxqueue.fitting.service_line import Linearity, ServiceFit, fit_service
from cvxqueue.statistics.estimate import FittedParameter

__all__ = [
    "Answers",
    "ArrivalFit",
    "CurveFit",
    "Diagnosis",
    "Fit",
    "FittedParameter",
    "Goodness",
    "Linearity",
    "Requests",
    "ServiceFit",
    "Source",
    "diagnose",
    "fit",
    "fit_arrivals",
    "fit_curve",
    "fit_service",
    "read_answers",
    "read_requests",
]
