"""OrbitFlow: which KV stays in GPU memory and which is streamed from the host, under latency SLOs.

One policy core, two drivers: a simulator with a virtual clock and a torch backend with a real one.
From Python:

    import orbitflow as of

    result = of.simulate(trace="demo", policies=["no-offload", "orbit"], slo_scale=2)
    result.frame()

Nothing below is loaded before it is asked for: the import itself costs no more than this file.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orbitflow.api.result import PolicyResult as PolicyResult
    from orbitflow.api.result import Result as Result
    from orbitflow.api.simulate import load_profile as load_profile
    from orbitflow.api.simulate import load_run as load_run
    from orbitflow.api.simulate import load_trace as load_trace
    from orbitflow.api.simulate import simulate as simulate
    from orbitflow.api.simulate import write_trace as write_trace
    from orbitflow.api.study import StudyResult as StudyResult
    from orbitflow.api.study import run_study as run_study
    from orbitflow.engine.policy import DataPlane as DataPlane
    from orbitflow.engine.policy import Decision as Decision
    from orbitflow.engine.policy import Lengths as Lengths
    from orbitflow.engine.policy import Policy as Policy
    from orbitflow.engine.policy import View as View
    from orbitflow.errors import OrbitFlowError as OrbitFlowError
    from orbitflow.errors import PolicyError as PolicyError
    from orbitflow.errors import UserError as UserError
    from orbitflow.machine.pipeline import Overlap as Overlap
    from orbitflow.machine.profile import Profile as Profile
    from orbitflow.placement import ALL_RESIDENT as ALL_RESIDENT
    from orbitflow.placement import Placement as Placement
    from orbitflow.placement import stride as stride
    from orbitflow.placement import useful_distances as useful_distances
    from orbitflow.policy.registry import make_policy as make_policy
    from orbitflow.policy.registry import policy_names as policy_names
    from orbitflow.request import Request as Request
    from orbitflow.traces.trace import Trace as Trace

__version__ = "0.2.0"

_HOMES = {
    "orbitflow.api.result": ("PolicyResult", "Result"),
    "orbitflow.api.simulate": ("load_profile", "load_run", "load_trace", "simulate", "write_trace"),
    "orbitflow.api.study": ("StudyResult", "run_study"),
    "orbitflow.engine.policy": ("DataPlane", "Decision", "Lengths", "Policy", "View"),
    "orbitflow.errors": ("OrbitFlowError", "PolicyError", "UserError"),
    "orbitflow.machine.pipeline": ("Overlap",),
    "orbitflow.machine.profile": ("Profile",),
    "orbitflow.placement": ("ALL_RESIDENT", "Placement", "stride", "useful_distances"),
    "orbitflow.policy.registry": ("make_policy", "policy_names"),
    "orbitflow.request": ("Request",),
    "orbitflow.traces.trace": ("Trace",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}
__all__ = ["__version__", *sorted(_HOME_OF)]


if not TYPE_CHECKING:  # where it would hide that a name is not there

    def __getattr__(name: str) -> object:
        if name not in _HOME_OF:
            raise AttributeError(f"module 'orbitflow' has no attribute {name!r}")
        value = getattr(import_module(_HOME_OF[name]), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return [*globals(), *_HOME_OF]
