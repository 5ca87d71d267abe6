"""Whether a turn is what it claims to be, from the definitions, one member at a time.

Nothing here is shared with the solver, the MILP or their coefficients: a turn is executed only if
this finds nothing wrong with it. It takes time in proportion to the members.
"""

from __future__ import annotations

from math import inf

from orbitflow.planner.turn.question import FLOOR, REST, Member, Question, Turn
from orbitflow.planner.turn.worth import Worth

TOLERANCE = 1e-6


def faults(question: Question, turn: Turn, claimed: Worth) -> list[str]:
    """What is wrong with a turn; nothing if it may be executed."""
    members, layers = question.members, question.limits.layers
    if len(turn.host_layers) != len(members):
        return [f"{len(turn.host_layers)} answers for {len(members)} members"]
    found = []
    for member, hosted in zip(members, turn.host_layers, strict=True):
        if hosted != REST and not 0 <= hosted <= layers:
            found.append(f"request {member.id} has {hosted} of {layers} layers on the host")
        if hosted == REST and not member.may_rest:
            found.append(f"request {member.id} must not be parked")
    if members and all(hosted == REST for hosted in turn.host_layers):
        found.append("nobody runs")
    pages = gpu_pages(question, turn)
    if pages > question.limits.gpu_pages:
        found.append(f"needs {pages} GPU pages of {question.limits.gpu_pages}")
    pass_s, first_s = pass_times(question, turn)
    span_s = first_s + (question.passes - 1) * pass_s
    for name, claim, truth in (
        ("pages", claimed.gpu_pages, pages),
        ("seconds a pass", claimed.pass_s, pass_s),
        ("seconds in all", claimed.span_s, span_s),
        ("lost tokens", claimed.loss, loss(question, turn)),
    ):
        if not abs(claim - truth) <= TOLERANCE * max(1.0, abs(truth)):
            found.append(f"claims {claim:.6g} {name}, but has {truth:.6g}")
    return found


def gpu_pages(question: Question, turn: Turn) -> int:
    """GPU pages at the window's end, the ring included."""
    limits = question.limits
    used = staged = largest = 0
    for member, hosted in zip(question.members, turn.host_layers, strict=True):
        if hosted == REST:
            continue
        tokens = member.context_tokens + question.passes - 1
        used += (limits.layers - hosted) * limits.pages(tokens) + hosted
        if hosted:
            staged += hosted * limits.full_pages(tokens)
            largest = max(largest, limits.full_pages(tokens))
    groups = 0 if limits.ring_is_extra else question.ring_groups
    return used - (-groups * (staged + (limits.layers - 1) * largest) // limits.layers)


def pass_times(question: Question, turn: Turn) -> tuple[float, float]:
    """Seconds of a pass and of the first one, as they are counted."""
    cost = question.cost
    contexts, link_s, first_link_s = [], 0.0, 0.0
    for member, hosted in zip(question.members, turn.host_layers, strict=True):
        if hosted == REST:
            continue
        contexts.append(member.context_tokens + question.passes // 2)
        layer_s = _layer_s(question, member.context_tokens)
        link_s += hosted * layer_s
        first_link_s += max(hosted, member.absent) * layer_s
    compute_s = cost.decode_pass_s(len(contexts), sum(contexts)) + cost.link_slowdown * link_s
    pass_s = max(compute_s, link_s, _floor_s(question))
    return pass_s, max(pass_s, first_link_s)


def loss(question: Question, turn: Turn) -> float:
    """J, in tokens."""
    pass_s, first_s = pass_times(question, turn)
    more = question.passes - 1
    span_s = first_s + more * pass_s
    late = made = 0.0
    mean_s = _mean_value_s(question)
    for member, hosted in zip(question.members, turn.host_layers, strict=True):
        if hosted == REST:
            back_s = question.limits.layers * _layer_s(question, member.context_tokens)
            missed = (span_s + back_s - member.due_s) / member.tau_s
        else:
            last = (span_s - member.due_s) / member.tau_s - more
            missed = max((first_s - member.due_s) / member.tau_s, last)
            made += question.passes * _value_s(question, member) / mean_s
        late += member.weight * max(0.0, missed)
    return late + question.token_value * (best_rate(question) * span_s - made)


def best_rate(question: Question) -> float:
    """rho: the most worth of tokens in a second, whoever runs."""
    limits, base_s = question.limits, question.cost.decode.base_s
    pages, compute_s, page_s = 0, 0.0, inf
    for member in question.members:
        full = limits.full_pages(member.context_tokens + question.passes - 1)
        pages += limits.layers * (full + 1)
        compute_s += _compute_s(question, member)
        if full:
            page_s = min(page_s, _layer_s(question, member.context_tokens) / full)
    times = pages / limits.gpu_pages
    if times <= 1:
        most = (compute_s + base_s * times) / (base_s + compute_s)
    else:
        most = min(1 + base_s / (page_s * limits.gpu_pages), times) if page_s else times
    return most / _mean_value_s(question)


def _floor_s(question: Question) -> float:
    """What a pass counts for at least: most of one of a full machine, or of the least tau."""
    if not question.members:
        return 0.0
    base_s, limits = question.cost.decode.base_s, question.limits
    compute_s = sum(_compute_s(question, member) for member in question.members)
    pages = sum(
        limits.layers * (limits.full_pages(m.context_tokens + question.passes - 1) + 1)
        for m in question.members
    )
    full_s = base_s + compute_s * min(1.0, limits.gpu_pages / pages)
    return FLOOR * min(full_s, *(member.tau_s for member in question.members))


def _mean_value_s(question: Question) -> float:
    return sum(_value_s(question, m) for m in question.members) / len(question.members)


def _value_s(question: Question, member: Member) -> float:
    """What a token of a member is worth: its share of a full machine, in seconds."""
    limits = question.limits
    end = member.context_tokens + question.passes - 1
    share = limits.layers * (limits.full_pages(end) + 1) / limits.gpu_pages
    return _compute_s(question, member) + question.cost.decode.base_s * share


def _compute_s(question: Question, member: Member) -> float:
    """What a member adds to a pass, in the window's middle."""
    decode = question.cost.decode
    return decode.request_s + decode.token_s * (member.context_tokens + question.passes // 2)


def _layer_s(question: Question, context_tokens: int) -> float:
    """Link seconds of one layer of a request, in the window's middle."""
    middle = context_tokens + question.passes // 2
    copied = question.limits.full_pages(middle) * question.cost.page_bytes
    return question.cost.copy_s(question.cost.h2d, copied)
