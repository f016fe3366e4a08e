"""An instance from its fitted parts, each of them checked against the types of the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from cvxqueue.errors import InvalidInputError
from cvxqueue.fitting.arrivals import ArrivalFit
from cvxqueue.fitting.curve import CurveFit
from cvxqueue.fitting.service import ServiceFit
from cvxqueue.formatting import shown
from cvxqueue.model import AffineService, Instance, SaturatingExponential
from cvxqueue.model.queue import Queue
from cvxqueue.numerics.checks import float_array, require
from cvxqueue.suggest import nearest

__all__ = ["assemble"]

_FROM_TRACE = "probabilities: the mix of the trace"


def assemble(
    lines: Mapping[str, ServiceFit],
    curves: Mapping[str, CurveFit],
    arrivals: ArrivalFit | None,
    sources: Sequence[str],
    *,
    accuracy_weight: float,
    max_tokens: ArrayLike,
    arrival_rate: float | None,
    mix: Mapping[str, float] | None,
    answer_tokens: ArrayLike,
    min_tokens: ArrayLike,
    importance: ArrayLike,
    token_scv: ArrayLike,
    queue: Queue | None,
    name: str,
    description: str,
) -> Instance:
    """Return the instance; see `Fit.instance`."""
    if not lines:
        raise InvalidInputError("an instance needs service times: fit with service=")
    if not curves:
        raise InvalidInputError("an instance needs accuracy curves: fit with accuracy=")
    names = list(curves)
    used = [_line(lines, kind) for kind in names]
    per_token = np.array([line.per_token.value for line in used])
    answer = float_array("answer_tokens", answer_tokens, len(names))
    require("answer_tokens", answer, answer >= 0, "must be ≥ 0")
    base = np.array([line.base.value for line in used]) + per_token * answer
    if arrival_rate is None:
        if arrivals is None:
            raise InvalidInputError(
                "an instance needs an arrival rate: fit with trace=, or give arrival_rate"
            )
        rate, notes = arrivals.rate.value, ["arrival_rate: that of the trace"]
    else:
        rate, notes = arrival_rate, ["arrival_rate: given"]
    probabilities, note = _mix(names, arrivals, mix)
    notes.append(note)
    if answer.any():
        notes.append(
            "service.base: includes the answer's tokens, "
            f"{', '.join(f'{tokens:g}' for tokens in np.unique(answer))}, at the seconds per token"
        )
    notes.append("accuracy_weight, max_tokens: given")
    # A trace that gave neither rate nor mix is no source.
    is_used = arrival_rate is None or note == _FROM_TRACE
    kept = [text for text in sources if is_used or not text.startswith("trace:")]
    return Instance(
        arrival_rate=rate,
        accuracy_weight=accuracy_weight,
        max_tokens=max_tokens,
        min_tokens=min_tokens,
        importance=importance,
        probabilities=probabilities,
        service=AffineService(base=base, per_token=per_token, token_scv=token_scv),
        accuracy=SaturatingExponential(
            floor=[curve.floor.value for curve in curves.values()],
            gain=[curve.gain.value for curve in curves.values()],
            rate=[curve.rate.value for curve in curves.values()],
        ),
        queue=queue,
        names=None if names == [""] else names,
        name=name,
        description=description,
        sources=[*kept, *notes],
    )


def _line(lines: Mapping[str, ServiceFit], kind: str) -> ServiceFit:
    if kind in lines:
        return lines[kind]
    if "" in lines:
        return lines[""]
    if kind == "":
        raise InvalidInputError(
            "the service times name types and the answers do not; give the answers types, or leave "
            f"those of the service times out (they are {', '.join(lines)})"
        )
    raise InvalidInputError(
        f"type {shown(kind)} has accuracies but no service times: {nearest(kind, lines)}"
    )


def _mix(
    names: list[str], arrivals: ArrivalFit | None, mix: Mapping[str, float] | None
) -> tuple[list[float], str]:
    """Probabilities in the order of the curves, and where they come from."""
    if mix is None:
        if len(names) == 1:
            return [1.0], "probabilities: a single type"
        shares = {} if arrivals is None else arrivals.mix
        if not shares:
            raise InvalidInputError(
                f"an instance of {len(names)} types needs their mix: give the trace a column of "
                f"types, or give mix (probabilities of {', '.join(names)})"
            )
        found, note = {kind: share.value for kind, share in shares.items()}, _FROM_TRACE
    else:
        found, note = dict(mix), "probabilities: given"
    for kind in found:
        if kind not in names:
            raise InvalidInputError(
                f"type {shown(kind)} of the mix has no accuracies: {nearest(kind, names)}"
            )
    for kind in names:
        if kind not in found:
            raise InvalidInputError(
                f"type {shown(kind)} is not in the mix: {nearest(kind, found)}; every type needs a "
                "probability > 0"
            )
    return [found[kind] for kind in names], note
