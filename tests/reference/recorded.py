"""A run folder as `orbitflow run` leaves it, written by the simulator instead of a backend."""

from __future__ import annotations

from pathlib import Path

from orbitflow.config import to_toml
from orbitflow.engine.journal import Journal, JournalFile
from orbitflow.machine.profile import to_json
from orbitflow.results.run_files import resolved, summary
from orbitflow.results.run_folder import RunFolder
from orbitflow.scenario import Scenario
from orbitflow.session import open_session
from orbitflow.sim.server import Simulation
from orbitflow.sim.step_executor import SimExecutor


def record(ran: Scenario, path: Path) -> Path:
    """Serve on the true machine of the scenario, and leave what `orbitflow run` would."""
    folder = RunFolder(path)
    reports = {}
    for name in ran.policies:
        with (
            open_session(ran, name, folder, lambda done: None) as session,
            folder.lines(f"{name}/journal.jsonl") as out,
        ):
            journal = Journal(session.core, JournalFile(out))
            executor = SimExecutor(ran.true, session.policy.data_plane)
            latency_s = ran.profile.planner_latency_s
            requests = ran.trace.requests()
            Simulation(
                journal, executor, requests, session.recorder, planner_latency_s=latency_s
            ).run()
        reports[name] = session.report()
    folder.write_text("config.toml", to_toml(ran.config, resolved(ran), replay={"device": "cpu"}))
    folder.write_text("profile.json", to_json(ran.profile))
    folder.write_json("summary.json", summary(ran, reports))
    folder.complete()
    return path
