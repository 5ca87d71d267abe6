"""`orbitflow plan` as a person meets it: tables, JSON, and how it says no."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import pytest

from orbitflow.cli import main
from orbitflow.cli.plan import plan_command
from orbitflow.cli.plan_table import strip
from orbitflow.explain.batch import Batch
from orbitflow.policy.registry import policy_names
from orbitflow.units import parse_moment

EXAMPLE = ("--contexts", "2000,8000,16000,4000", "--kv-capacity-tokens", "20000")


class Terminal:
    """Runs the command and keeps what it printed."""

    def __init__(self, capsys: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch) -> None:
        self._capsys, self._patch = capsys, patch

    def plan(self, *arguments: str) -> str:
        code, out, err = self.run(*arguments)
        assert (code, err) == (0, "")
        return out

    def refused(self, *arguments: str) -> str:
        code, out, err = self.run(*arguments)
        assert (code, out) == (2, "")
        assert err.startswith("orbitflow: ")
        assert err.count("\n") == 1
        return err

    def json(self, *arguments: str) -> Any:
        return json.loads(self.plan(*arguments, "--json"))

    def run(self, *arguments: str) -> tuple[object, str, str]:
        self._patch.setattr("sys.argv", ["orbitflow", "plan", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = self._capsys.readouterr()
        return ended.value.code or 0, printed.out, printed.err


@pytest.fixture
def terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Terminal:
    monkeypatch.setenv("COLUMNS", "140")
    monkeypatch.chdir(tmp_path)
    return Terminal(capsys, monkeypatch)


def write_trace() -> None:
    rows = [(0, 1000, 20), (500, 3000, 10), (900, 200, 30)]
    Path("tiny.jsonl").write_text(
        "".join(
            json.dumps({"timestamp": t, "input_length": p, "output_length": o}) + "\n"
            for t, p, o in rows
        )
    )


def test_the_example_shows_layers_times_memory_and_why(terminal: Terminal) -> None:
    printed = terminal.plan(*EXAMPLE, "--policy", "static-1")
    assert printed.count("█░" * 16) == 4
    for said in ("2,000", "16 of 32", "999.0 MiB", "limit 103 ms: too slow", "binding  link"):
        assert said in printed
    assert "30,000 tokens of 20,000, so 10,000 must leave" in printed
    assert "late tokens: a pass takes 257 ms" in printed


def test_orbit_is_asked_unless_said_otherwise(terminal: Terminal) -> None:
    printed = terminal.plan(*EXAMPLE)
    assert "\norbit: holds for" in printed
    assert "orbitflow: holds for" not in printed
    assert "planner: " in printed


def test_every_policy_has_a_block(terminal: Terminal) -> None:
    printed = terminal.plan(*EXAMPLE, "--policy", "all")
    for name in policy_names():
        assert f"\n{name}: holds " in printed


def test_json_says_the_same(terminal: Terminal) -> None:
    """By hand: a pass of the A5000 is 0.0495 + 9.63e-7 x 30,000; nothing overlaps in deepspeed."""
    document = terminal.json(*EXAMPLE, "--policy", "deepspeed", "--policy", "no-offload")
    assert document["schema_version"] == 1
    assert document["not_shown"] == []
    shown, queued = document["decisions"]
    decode = shown["decode"]
    assert decode["compute_s"] == pytest.approx(0.0495 + 9.63e-7 * 30_000)
    assert decode["pass_s"] == pytest.approx(decode["compute_s"] + decode["link_s"])
    assert decode["h2d_bytes"] == sum(row["streamed_bytes"] for row in shown["requests"])
    assert [row["fate"] for row in shown["requests"]] == ["runs"] * 4
    assert [row["fate"] for row in queued["requests"]] == ["admitted", "admitted", "waits", "waits"]
    assert queued["window"] is None
    assert shown["memory"]["wanted_tokens"] == 30_000
    assert shown["binding"] == "link"


def test_the_same_question_has_the_same_answer(terminal: Terminal) -> None:
    assert terminal.plan(*EXAMPLE, "--json") == terminal.plan(*EXAMPLE, "--json")


def test_there_is_one_default_of_the_tokens_to_come() -> None:
    default = inspect.signature(plan_command).parameters["output_tokens"].default
    assert default == Batch((2,)).output_tokens


def test_balances_are_shown(terminal: Terminal) -> None:
    rows = terminal.json(*EXAMPLE, "--balances", "0,2s,500ms,0.0s")["decisions"][0]["requests"]
    assert [row["balance_s"] for row in rows] == pytest.approx([0.0, 2.0, 0.5, 0.0])


def test_switches_of_the_planner_are_taken(terminal: Terminal) -> None:
    parked = terminal.json(*EXAMPLE)["decisions"][0]["requests"]
    running = terminal.json(*EXAMPLE, "--no-pause")["decisions"][0]["requests"]
    assert "parked" in [row["fate"] for row in parked]
    assert {row["fate"] for row in running} == {"runs"}


def test_prompts_wait_or_are_let_in(terminal: Terminal) -> None:
    question = ("--contexts", "500", "--waiting", "300,200", "--policy", "orbitflow")
    one_by_one = terminal.json(*question[:4])["decisions"][0]
    assert [row["fate"] for row in one_by_one["requests"]] == ["runs", "admitted", "waits"]
    shown = terminal.json(*question)["decisions"][0]
    assert [row["fate"] for row in shown["requests"]] == ["runs", "admitted", "admitted"]
    assert [row["context_tokens"] for row in shown["requests"]] == [500, 301, 201]
    assert shown["decode"]["requests"] == 3


def test_a_moment_of_a_trace(terminal: Terminal) -> None:
    write_trace()
    printed = terminal.plan("--trace", "tiny.jsonl", "--at", "2s", "--policy", "dynamic")
    assert "dynamic: at 2 s, decided at" in printed
    assert "0 of 32" in printed


def test_long_contexts_are_noted(terminal: Terminal) -> None:
    assert "1 of 4 requests grow beyond the 8,192 tokens" in terminal.plan(*EXAMPLE)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "--contexts"),
        (("--contexts", ""), "--contexts is empty"),
        (("--contexts", "200,,300"), "empty place"),
        (("--contexts", "0"), "--contexts 0 must be from 2"),
        (("--contexts", "20,-3"), "--contexts -3"),
        (("--contexts", "20,x"), "'x'"),
        (("--contexts", "9999999999"), "1,000,000,000"),
        (("--contexts", "800000"), "can never be served"),
        (("--contexts", "20", "--output-tokens", "0"), "--output-tokens 0"),
        (("--contexts", "20,30", "--balances", "1s"), "--balances names 1"),
        (("--contexts", "20", "--balances", "1x"), "--balances: cannot read '1x'"),
        (("--contexts", "20", "--balances", "100s"), "at most"),
        (("--contexts", "20,20", "--max-batch", "1"), "--max-batch allows 1"),
        (("--contexts", "20,20", "--host-memory", "50MiB"), "raise --host-memory"),
        (("--contexts", "20", "--at", "3s"), "--at"),
        (("--contexts", "20", "--rate-scale", "3"), "--rate-scale"),
        (("--contexts", "20", "--trace", "tiny.jsonl"), "two questions"),
        (("--trace", "tiny.jsonl"), "--at"),
        (("--trace", "tiny.jsonl", "--at", "1h"), "take an earlier --at"),
        (("--trace", "tiny.jsonl", "--at", "-1s"), "--at"),
        (("--contexts", "20", "--policy", "dynamik"), "dynamic"),
    ],
)
def test_refusals(terminal: Terminal, arguments: tuple[str, ...], said: str) -> None:
    write_trace()
    assert said in terminal.refused(*arguments)


def test_one_policy_without_an_answer_does_not_hide_the_others(terminal: Terminal) -> None:
    question = ("--contexts", "2000,30000", "--kv-capacity-tokens", "20000")
    printed = terminal.plan(*question, "--policy", "no-offload", "--policy", "neo")
    assert "no-offload: request 1 can never be served" in printed
    assert "neo: holds" in printed


def test_strips_are_compressed() -> None:
    assert strip((3, 7), 8) == "███░███░"
    assert strip((4, 5, 6), 9, 2) == "██░▒█"
    assert strip((), 3, characters=("#", "+", ".")) == "###"


@pytest.mark.parametrize(("text", "seconds"), [("0", 0.0), (" 0.0 ms ", 0.0), ("2s", 2.0)])
def test_times_may_be_zero(text: str, seconds: float) -> None:
    assert parse_moment(text) == seconds
