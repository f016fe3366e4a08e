"""From measurements to an instance: service line, accuracy curves, arrivals, and their readers."""

from cvxqueue.fitting.arrivals import ArrivalFit, PoissonTest, fit_arrivals
from cvxqueue.fitting.curve import CurveFit, Goodness, fit_curve
from cvxqueue.fitting.parameter import FittedParameter
from cvxqueue.fitting.readers import read_answers, read_requests
from cvxqueue.fitting.records import Answers, Requests, Source
from cvxqueue.fitting.service import Linearity, ServiceFit, fit_service

__all__ = [
    "Answers",
    "ArrivalFit",
    "CurveFit",
    "FittedParameter",
    "Goodness",
    "Linearity",
    "PoissonTest",
    "Requests",
    "ServiceFit",
    "Source",
    "fit_arrivals",
    "fit_curve",
    "fit_service",
    "read_answers",
    "read_requests",
]
