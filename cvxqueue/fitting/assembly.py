"""Parts of an instance from what was fitted, each checked against the types of the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from cvxqueue.errors import InvalidInputError
from cvxqueue.fitting.arrival_rate import ArrivalFit
from cvxqueue.fitting.service_line import ServiceFit
from cvxqueue.formatting import shown
from cvxqueue.model import AffineService
from cvxqueue.numerics.checks import float_array, require
from cvxqueue.suggest import nearest

FROM_TRACE = "of the trace"
"""In a note of where a number comes from."""


def service_law(
    lines: Mapping[str, ServiceFit],
    names: Sequence[str],
    answer_tokens: ArrayLike,
    token_scv: ArrayLike,
) -> tuple[AffineService, list[str]]:
    """Return the service law of the types, and what to note of it."""
    used = [_line(lines, name) for name in names]
    per_token = np.array([line.per_token.value for line in used])
    answer = float_array("answer_tokens", answer_tokens, len(names))
    require("answer_tokens", answer, answer >= 0, "must be ≥ 0")
    base = np.array([line.base.value for line in used]) + per_token * answer
    law = AffineService(base=base, per_token=per_token, token_scv=token_scv)
    if not answer.any():
        return law, []
    listed = ", ".join(f"{tokens:g}" for tokens in np.unique(answer))
    return law, [f"service.base: includes the answer's tokens, {listed}, at the seconds per token"]


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


def rate_of(arrivals: ArrivalFit | None, given: float | None) -> tuple[float, str]:
    """Return the arrival rate, and where it comes from."""
    if given is not None:
        return given, "arrival_rate: given"
    if arrivals is None:
        raise InvalidInputError(
            "an instance needs an arrival rate: fit with trace=, or give arrival_rate"
        )
    return arrivals.rate.value, f"arrival_rate: that {FROM_TRACE}"


def mix_of(
    arrivals: ArrivalFit | None, names: list[str], mix: Mapping[str, float] | None
) -> tuple[list[float], str]:
    """Return the probabilities of the types, and where they come from."""
    note = "probabilities: given"
    if mix is not None:
        found = dict(mix)
    elif len(names) == 1:
        return [1.0], "probabilities: a single type"
    elif arrivals is not None and arrivals.mix:
        found = {kind: share.value for kind, share in arrivals.mix.items()}
        note = f"probabilities: the mix {FROM_TRACE}"
    else:
        raise InvalidInputError(
            f"an instance of {len(names)} types needs their mix: give the trace a column of "
            f"types, or give mix (probabilities of {', '.join(names)})"
        )
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
