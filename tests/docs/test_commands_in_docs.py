"""Every command in the documents is run, or at least parsed by the real option parser.

A document's commands run in order in one folder of its own, in this process. `PARSED` says which
are not run, `CHEAPER` which get more options, and why; neither may name what is not there.
Output shown below a command is compared line by line, save where options were added.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from reference.cpu_profile import write_cpu_profile
from reference.documents import ROOT, WITH_COMMANDS, Command, blocks, commands, name
from typer.main import get_command

from orbitflow.cli import app
from orbitflow.machine.catalog import resolve_profile
from orbitflow.machine.profile import to_json

sys.path.insert(0, str(ROOT / "scripts"))
from reference_cli import commands as declared_commands
from reference_cli import examples

INSTALLS = "sets up an environment, or runs the suite itself"
NO_GPU = "needs a CUDA device and a model of 16 GB"
NETWORK = "fetches from the network"
MEASURES = "measures this machine for half a minute or more; tests/calibrate runs it smaller"
AUTHORS = "needs the authors' main trace, which is not bundled"
LONG = "minutes of CPU time; tests/paper runs it smaller"

# Not run, only parsed: the command as it is written, and why.
PARSED = {
    "./scripts/test": INSTALLS,
    "./scripts/check": INSTALLS,
    "./scripts/docs": INSTALLS,
    "./scripts/setup dev": INSTALLS,
    "orbitflow run --device cuda:0 --model ./Llama-3.1-8B --trace azure_conv --num-requests 200 "
    "--rate-scale 0.2": NO_GPU,
    "orbitflow calibrate --gpu 0 --model ./Llama-3.1-8B --out mine.json --plot fits.svg": NO_GPU,
    "orbitflow generate --model ./Qwen3-0.6B --prompt 'Once upon a time' "
    "--kv-capacity-tokens 2048": "needs a model of 1.5 GB; tests/backend has a small one",
    "orbitflow calibrate --device cpu --quick --out cpu.json --plot fits.svg": MEASURES,
    "orbitflow calibrate --device cpu --quick --out cpu.json": MEASURES,
    "orbitflow trace fetch azure_conv": NETWORK,
    "./scripts/paper": LONG,
    "./scripts/paper --quick": LONG,
    "orbitflow study run --trace paper_32k_lambda2.0x_cv1.json --profile a5000-llama3-8b-paper "
    "--policy all --grid slo_scale=1,1.5,2.5 --seeds 9 --bound": AUTHORS,
}

FEW = ("--num-requests", "40")
SMALL = ("--num-requests", "1", "--output-scale", "0.1", "--context-scale", "0.1")
QUICK_RUN = ("--profile", "cpu.json", *SMALL, "--time-scale", "0.01", "--force")
ONE_WORKER = ("--seeds", "1", "--workers", "1")
ONE_SEED = ("--num-requests", "4", "--tolerance", "0.5", *ONE_WORKER)
# Run with these options on top, and why; what it prints is then another thing.
CHEAPER = {
    "orbitflow sim --trace paper:rate=5,cv=4,seed=1 --profile a5000-llama3-8b-paper": (
        ("--num-requests", "6"),
        "52 long requests",
    ),
    "./scripts/orbitflow sim --trace azure_conv.jsonl": (FEW, "19,366 requests"),
    "orbitflow study run --trace t.jsonl --grid policy=no-offload,dynamic "
    "--grid slo_scale=1,1.5,2.5 --seeds 3": (ONE_WORKER, "18 simulations"),
    "orbitflow study capacity --trace t.jsonl --policy dynamic --policy orbit "
    "--target slo_attainment=0.95": (ONE_SEED, "some hundred simulations"),
    "orbitflow study capacity --trace demo --kv-capacity-tokens 6000 --policy no-offload "
    "--policy dynamic --policy orbitflow --target slo_attainment=0.9": (
        ONE_SEED,
        "105 simulations",
    ),
    "orbitflow study capacity --trace demo --vary kv-capacity-tokens=3000..46000 "
    "--target ttft_s.p95=2s": (ONE_SEED, "some hundred simulations"),
    "orbitflow study capacity --trace demo --kv-capacity-tokens 6000 --vary link-scale=0.05..1 "
    "--policy dynamic --target slo_attainment=0.9": (ONE_SEED, "some tens of simulations"),
    "orbitflow study run --trace demo --policy dynamic --policy orbitflow "
    "--grid kv_capacity_tokens=4000,6000 --grid max_batch=8,16 --seeds 3 --out studies/choice": (
        ONE_WORKER,
        "24 simulations",
    ),
    "orbitflow run --profile cpu.json --validate": (QUICK_RUN, "serves for half a minute"),
    "orbitflow run --num-requests 8 --policy orbitflow --validate --timeline --out runs/real": (
        QUICK_RUN,
        "measures and serves for half a minute",
    ),
    "orbitflow run --num-requests 8 --policy orbitflow --timeline --validate --out runs/real": (
        QUICK_RUN,
        "measures and serves for half a minute",
    ),
}

NAMES = ("timestamp", "input_length", "output_length")
TRACE = [(0, 1000, 20), (500, 3000, 10), (900, 200, 2), (1500, 800, 5)]


def trace_text() -> str:
    return "".join(json.dumps(dict(zip(NAMES, row, strict=True))) + "\n" for row in TRACE)


def make_files(document: Path) -> None:
    """What a reader has, or has made by hand, before the commands of a document."""
    for trace in ("t.jsonl", "requests.jsonl", "mooncake.jsonl"):
        Path(trace).write_text(trace_text())
    write_cpu_profile(Path("cpu.json"), "tiny-llama")
    Path("log.csv").write_text("seconds,prompt_tokens,answer_tokens\n0,900,20\n1.5,3000,9\n")
    Path("AzureLLMInferenceTrace_conv.csv").write_text(
        "TIMESTAMP,ContextTokens,GeneratedTokens\n"
        "2023-11-16 18:15:46.6805900,374,44\n2023-11-16 18:15:50.9951690,396,109\n"
    )
    Path("Qwen2.5-7B").mkdir()
    config: dict[str, Any] = {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2"}
    config |= {"hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28}
    config |= {"num_attention_heads": 28, "num_key_value_heads": 4, "vocab_size": 152064}
    config |= {"max_position_embeddings": 32768, "torch_dtype": "bfloat16"}
    Path("Qwen2.5-7B/config.json").write_text(json.dumps(config))
    profile = json.loads(to_json(resolve_profile("a5000-llama3-8b-paper")))
    Path("mine.json").write_text(json.dumps({**profile, "name": "mine"}))
    if document.name == "add-a-trace.md":
        exec(python_blocks(document)[0], {})  # the page's own script writes mine.jsonl
    if document.name == "add-a-policy.md":
        Path("even_stream.py").write_text(python_blocks(document)[0])
    if document.name == "README.md":  # a policy of one's own: the how-to's, by another name
        page = python_blocks(ROOT / "docs" / "howto" / "add-a-policy.md")[0]
        Path("my_policy.py").write_text(page.replace("EvenStream", "Mine"))


def python_blocks(document: Path) -> list[str]:
    """The Python of a document; lines of a registry that stand alone are no block of their own."""
    found = [
        textwrap.dedent("\n".join(b.lines)) for b in blocks(document) if b.language == "python"
    ]
    return [text for text in found if "import" in text]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new folder for each document, no cache of fetched traces, no width of a terminal."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ORBITFLOW_CACHE", str(tmp_path / "cache"))
    for variable in ("COLUMNS", "FORCE_COLOR"):
        monkeypatch.delenv(variable, raising=False)


def parse(words: tuple[str, ...]) -> None:
    """Let the real parser read a command line, down to the last subcommand. It raises what it
    does not take.
    """
    command: Any = get_command(app)
    rest, parent = list(words), None
    for _ in range(3):
        context = command.make_context(rest[0] if rest else "orbitflow", rest, parent=parent)
        if not hasattr(command, "commands"):
            return
        _, command, rest = command.resolve_command(
            context, [*context._protected_args, *context.args]
        )
        parent = context
    raise AssertionError(f"no command in {words}")


def is_shown(lines: tuple[str, ...], output: str) -> Iterator[str]:
    """Lines of a document that the output lacks, in this order; of a row, its first cells count."""
    printed = iter([_plain(line) for line in output.splitlines()])
    for line in lines:
        if line.strip() and not any(found.startswith(_plain(line)) for found in printed):
            yield line


def _plain(line: str) -> str:
    return " ".join(re.sub(r"± \S+", "±", line).split())


@pytest.mark.slow
@pytest.mark.parametrize("document", [d for d in WITH_COMMANDS if commands(d)], ids=name)
def test_commands_run(document: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_files(document)
    for command in commands(document):
        if command.arguments is None or command.text in PARSED:
            check_without_running(command)
            continue
        more, _ = CHEAPER.get(command.text, ((), ""))
        capsys.readouterr()
        app([*command.arguments, *more], standalone_mode=False)
        printed = capsys.readouterr()
        if not more:
            missing = list(is_shown(command.shown, printed.err + printed.out))
            assert not missing, f"{command.text}\nnot printed: {missing}\n{printed.out}"


def check_without_running(command: Command) -> None:
    if command.arguments is None:
        script = ROOT / command.words[0]
        assert os.access(script, os.X_OK), script
        assert command.text in PARSED, f"{command.text}: say in PARSED why it is not run"
    else:
        parse(command.arguments)


def test_tables_name_only_what_is_written() -> None:
    written = {command.text for document in WITH_COMMANDS for command in commands(document)}
    assert set(PARSED) <= written, set(PARSED) - written
    assert set(CHEAPER) <= written, set(CHEAPER) - written
    assert not set(PARSED) & set(CHEAPER)


DECLARED = list(declared_commands(app, "orbitflow"))


@pytest.mark.parametrize(("path", "command"), DECLARED, ids=[path for path, _ in DECLARED])
def test_examples_of_help_are_read_by_the_parser(path: str, command: Callable[..., None]) -> None:
    for example in examples(command):
        assert example.startswith(path), example
        parse(tuple(shlex.split(example)[1:]))


def test_the_parser_would_notice() -> None:
    parse(("study", "run", "--trace", "t.jsonl"))
    with pytest.raises(Exception, match="--grit"):
        parse(("study", "run", "--trace", "t.jsonl", "--grit", "x=1"))
    with pytest.raises(Exception, match="simulate"):
        parse(("simulate",))


def test_shown_output_must_be_printed_in_its_order() -> None:
    output = "one 1\n│ two │ 2 ± 0.1 │ 3 │\nthree"
    assert not list(is_shown(("one  1", "│ two │ 2 ± 0.2 │", "three"), output))
    assert list(is_shown(("three", "one 1"), output)) == ["one 1"]
    assert list(is_shown(("│ two │ 3 ± 0.1 │",), output)) == ["│ two │ 3 ± 0.1 │"]
