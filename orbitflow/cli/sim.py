"""`orbitflow sim`: one trace, one machine, several policies, one table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orbitflow.cli.planning_options import (
    LateLoad,
    LengthsUsed,
    LostWeight,
    SolverUsed,
    TokenValue,
    VictimChosen,
    WithoutDeposit,
    WithoutGate,
    WithoutPause,
    WithoutPreload,
    WithoutRefiner,
    WithoutSpread,
)
from orbitflow.config import DeliveryPace, DepositRule, Fidelity, PipelineForm, RunConfig

_WORKLOAD = "Workload"
_MACHINE = "Machine"
_SERVING = "Serving"
_SLO = "SLO and delivery"
_OUTPUT = "Output"


def sim_command(
    trace: Annotated[
        str,
        typer.Option(
            help="A trace file of a known format, or a known name such as azure_conv.jsonl.",
            rich_help_panel=_WORKLOAD,
        ),
    ],
    policy: Annotated[
        list[str] | None,
        typer.Option(
            help="A policy: a name, path/to/file.py:Class or package.module:Class; repeat for "
            "several, or `all` built-in ones. Default: no-offload, dynamic, orbitflow, orbit.",
            rich_help_panel=_SERVING,
        ),
    ] = None,
    rate_scale: Annotated[
        float | None,
        typer.Option(
            help="Multiply the arrival rate. Default 1; for the Azure trace on the default "
            "profile 0.18.",
            rich_help_panel=_WORKLOAD,
        ),
    ] = None,
    context_scale: Annotated[
        float, typer.Option(help="Multiply prompt lengths.", rich_help_panel=_WORKLOAD)
    ] = RunConfig.context_scale,
    output_scale: Annotated[
        float, typer.Option(help="Multiply output lengths.", rich_help_panel=_WORKLOAD)
    ] = RunConfig.output_scale,
    num_requests: Annotated[
        int | None,
        typer.Option(help="Take only the first N requests.", rich_help_panel=_WORKLOAD),
    ] = None,
    arrival_jitter: Annotated[
        float,
        typer.Option(
            help="Multiply every gap by 1 ± x, seeded; 0 <= x < 1.", rich_help_panel=_WORKLOAD
        ),
    ] = RunConfig.arrival_jitter,
    seed: Annotated[
        int, typer.Option(help="Seed of everything random.", rich_help_panel=_WORKLOAD)
    ] = RunConfig.seed,
    profile: Annotated[
        str | None,
        typer.Option(
            help="A built-in profile (see `orbitflow profile list`) or a profile file. "
            "Default: a5000-llama3-8b-paper.",
            rich_help_panel=_MACHINE,
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="A model preset or HF config.json; for roofline profiles.",
            rich_help_panel=_MACHINE,
        ),
    ] = None,
    gpu_memory: Annotated[
        str | None,
        typer.Option(help="GPU memory, such as 24GiB.", rich_help_panel=_MACHINE),
    ] = None,
    kv_capacity_tokens: Annotated[
        int | None,
        typer.Option(
            help="KV that the GPU holds, in tokens (tail pages and staging ring included).",
            rich_help_panel=_MACHINE,
        ),
    ] = None,
    host_memory: Annotated[
        str | None,
        typer.Option(help="Host memory for KV, such as 256GiB.", rich_help_panel=_MACHINE),
    ] = None,
    ring_extra: Annotated[
        bool,
        typer.Option(
            "--ring-extra",
            help="Let the staging ring come on top of the KV capacity, as in the paper.",
            rich_help_panel=_MACHINE,
        ),
    ] = RunConfig.ring_extra,
    link_scale: Annotated[
        float, typer.Option(help="Multiply the link's bandwidth.", rich_help_panel=_MACHINE)
    ] = RunConfig.link_scale,
    compute_scale: Annotated[
        float, typer.Option(help="Multiply the speed of compute.", rich_help_panel=_MACHINE)
    ] = RunConfig.compute_scale,
    max_batch: Annotated[
        int | None,
        typer.Option(
            help="Most requests served at once, parked ones included; 0 = no limit. Default: the "
            "trace's own, else what the profile was measured with, else 256.",
            rich_help_panel=_SERVING,
        ),
    ] = None,
    prefill_chunk: Annotated[
        int,
        typer.Option(
            help="Prompt tokens per pass beside decode; 0 = whole prompts first.",
            rich_help_panel=_SERVING,
        ),
    ] = RunConfig.prefill_chunk,
    pipeline: Annotated[
        PipelineForm,
        typer.Option(
            help="How streaming overlaps with compute: a finite ring with prefetch across passes, "
            "or the paper's form.",
            rich_help_panel=_SERVING,
        ),
    ] = RunConfig.pipeline,
    fidelity: Annotated[
        Fidelity,
        typer.Option(
            help="Time whole passes, or every layer and transfer as an event (slower).",
            rich_help_panel=_OUTPUT,
        ),
    ] = RunConfig.fidelity,
    bound: Annotated[
        bool,
        typer.Option(
            "--bound",
            help="Also compute what no policy can exceed here (timely share, SLO attainment, "
            "goodput), and show each policy's share of it.",
            rich_help_panel=_OUTPUT,
        ),
    ] = False,
    timeline: Annotated[
        bool,
        typer.Option(
            "--timeline",
            help="Write timeline.json (its first 400,000 events) for Perfetto: passes, requests, "
            "counters; with --fidelity layer every layer and transfer.",
            rich_help_panel=_OUTPUT,
        ),
    ] = RunConfig.timeline,
    slo_scale: Annotated[
        float,
        typer.Option(
            help="Limit on the time between tokens, as a multiple of a decode pass with full KV.",
            rich_help_panel=_SLO,
        ),
    ] = RunConfig.slo_scale,
    slo_tbt: Annotated[
        str | None,
        typer.Option(
            help="Limit on the time between tokens, such as 100ms; instead of --slo-scale.",
            rich_help_panel=_SLO,
        ),
    ] = None,
    slo_ttft: Annotated[
        str,
        typer.Option(
            help="Limit on the time to first token: this much, plus ...", rich_help_panel=_SLO
        ),
    ] = f"{RunConfig.slo_ttft_s:g}s",
    slo_ttft_scale: Annotated[
        float,
        typer.Option(
            help="... this many times the request's isolated prefill.", rich_help_panel=_SLO
        ),
    ] = RunConfig.slo_ttft_scale,
    deposit: Annotated[
        DepositRule,
        typer.Option(
            help="Whose early tokens are banked when lateness is judged.", rich_help_panel=_SLO
        ),
    ] = RunConfig.deposit,
    pace: Annotated[
        DeliveryPace,
        typer.Option(
            help="When tokens reach the client: at the SLO's pace, or at once.",
            rich_help_panel=_SLO,
        ),
    ] = RunConfig.pace,
    no_refine: WithoutRefiner = RunConfig.no_refine,
    no_deposit: WithoutDeposit = RunConfig.no_deposit,
    no_pause: WithoutPause = RunConfig.no_pause,
    no_gate: WithoutGate = RunConfig.no_gate,
    no_spread: WithoutSpread = RunConfig.no_spread,
    no_preload: WithoutPreload = RunConfig.no_preload,
    victim: VictimChosen = RunConfig.victim,
    lengths: LengthsUsed = RunConfig.lengths,
    token_value: TokenValue = RunConfig.token_value,
    lost_weight: LostWeight = RunConfig.lost_weight,
    late_load: LateLoad = RunConfig.late_load,
    solver: SolverUsed = RunConfig.solver,
    perturb: Annotated[
        str | None,
        typer.Option(
            help="A machine unlike its profile, such as link=0.5,compute=1.3,noise=0.05: half the "
            "bandwidth, passes 1.3 times as long, 5 % noise.",
            rich_help_panel=_MACHINE,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="New folder for the results. Default: runs/<trace>-<n>.", rich_help_panel=_OUTPUT
        ),
    ] = None,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print only the summary, as JSON.", rich_help_panel=_OUTPUT),
    ] = False,
    quiet: Annotated[
        bool,
        typer.Option("--quiet", "-q", help="Print only the table.", rich_help_panel=_OUTPUT),
    ] = False,
) -> None:
    """Simulate how KV-offloading policies would serve a trace, and compare them under SLOs.

    Example: orbitflow sim --trace azure_conv.jsonl --policy no-offload --policy dynamic
    """
    from orbitflow.units import parse_bytes, parse_option, parse_seconds

    config = RunConfig(
        trace=trace,
        policies=tuple(policy or ()),
        profile=profile,
        model=model,
        gpu_memory_bytes=parse_option("--gpu-memory", gpu_memory, parse_bytes),
        kv_capacity_tokens=kv_capacity_tokens,
        host_memory_bytes=parse_option("--host-memory", host_memory, parse_bytes),
        ring_extra=ring_extra,
        max_batch=max_batch,
        slo_scale=slo_scale,
        slo_tbt_s=parse_option("--slo-tbt", slo_tbt, parse_seconds),
        slo_ttft_s=parse_option("--slo-ttft", slo_ttft, parse_seconds) or RunConfig.slo_ttft_s,
        slo_ttft_scale=slo_ttft_scale,
        rate_scale=rate_scale,
        context_scale=context_scale,
        output_scale=output_scale,
        num_requests=num_requests,
        arrival_jitter=arrival_jitter,
        link_scale=link_scale,
        compute_scale=compute_scale,
        prefill_chunk=prefill_chunk,
        pipeline=pipeline,
        fidelity=fidelity,
        timeline=timeline,
        deposit=deposit,
        pace=pace,
        no_refine=no_refine,
        no_deposit=no_deposit,
        no_pause=no_pause,
        no_gate=no_gate,
        no_spread=no_spread,
        no_preload=no_preload,
        victim=victim,
        lengths=lengths,
        token_value=token_value,
        lost_weight=lost_weight,
        late_load=late_load,
        solver=solver,
        perturb=perturb,
        seed=seed,
    )
    run_simulation(config, out, bounded=bound, as_json=as_json, quiet=quiet)
