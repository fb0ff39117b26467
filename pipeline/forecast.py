"""A plan in numbers and as text: how many patches will be kept, how many bytes and hours it takes."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from math import ceil, floor

from pipeline.observation import Sample, Seconds
from pipeline.plan import Intake, Job, Plan
from pipeline.status import format_bytes

NAMED = 3  # sources that are named with a reason, at most


@dataclass(frozen=True, slots=True)
class Forecast:
    """What is expected of a plan, from samples of its jobs.

    `kept` of the candidates that are scored, between `least` and `most` with 95 % confidence; `exported` patches; bytes
    that the `tables` and `arrays` grow by; `seconds` of one process.
    """

    scored: int
    kept: float
    least: float
    most: float
    exported: float
    tables: float
    arrays: float
    seconds: Seconds


def forecast(plan: Plan) -> Forecast:
    """Extrapolate from the samples of a plan to all of it."""
    jobs = [(job, job.sample) for job in plan.jobs if job.sample is not None and job.sample.seen]
    scored = [(job, sample) for job, sample in jobs if "score" in job.stages]
    bounds = [[bound * job.candidates for bound in sample.interval()] for job, sample in scored]
    exports = [(job, sample) for job, sample in jobs if "export" in job.stages]
    waiting = sum(_kept(job, sample) for job, sample in exports)
    exported = waiting if plan.room is None else min(waiting, plan.room)
    part = exported / waiting if waiting else 0.0
    return Forecast(
        scored=sum(job.candidates for job, _ in scored),
        kept=sum(_kept(job, sample) for job, sample in scored),
        least=sum(least for least, _ in bounds),
        most=sum(most for _, most in bounds),
        exported=exported,
        tables=sum(sample.growth * job.candidates for job, sample in jobs),
        arrays=sum(_patch_bytes(plan, sample) * _kept(job, sample) * part for job, sample in exports),
        seconds=sum((_seconds(plan, job, sample, part) for job, sample in jobs), _intake_seconds(plan)),
    )


def _kept(job: Job, sample: Sample) -> float:
    return sample.share * job.candidates


def _patch_bytes(plan: Plan, sample: Sample) -> float:
    if sample.stored is not None:
        return sample.stored
    return 9.0 * plan.settings.crops.patch_size**2  # no kept one was seen: of three channels, a half and a byte


def _intake_seconds(plan: Plan) -> Seconds:
    return Seconds() if plan.intake is None else plan.intake.seconds


def _seconds(plan: Plan, job: Job, sample: Sample, part: float) -> Seconds:
    """Return the time of a job, its share of the export included. A shard may begin and end within a frame."""
    seconds = sample.decode * (job.decodes * len(job.units)) + sample.candidate * job.candidates
    exported = _kept(job, sample) * part
    if "export" not in job.stages or exported == 0:
        return seconds
    decodes = sample.frames_with_kept(part) + ceil(exported / plan.settings.export.shard_rows) - 1
    return seconds + sample.decode * decodes + sample.export * exported


def forecast_lines(plan: Plan) -> list[str]:
    """Return the lines that tell a plan and what is expected of it."""
    expected = forecast(plan)
    exports = plan.command in {"run", "export"}
    told = {
        "sources": None if plan.intake is None else _sources(plan.intake),
        "frames": str(plan.frames),
        "candidates": _candidates(plan),
        "sample": _sample(plan),
        "relabelled": _relabelled(plan),
        "kept": _kept_text(plan, expected) if expected.scored else None,
        "exported": f"{_about(plan, expected.exported)} more" if exports else None,
        "tables": f"about {format_bytes(round(expected.tables))} more",
        "arrays": f"about {format_bytes(round(expected.arrays))} more" if exports else None,
        "time": _time(plan, expected.seconds),
    }
    lines = [f"{name:<12} {text}" for name, text in told.items() if text is not None]
    return [*lines, *_failure_lines(plan)]


def _sources(intake: Intake) -> str:
    parts = [f"{intake.new} new ({format_bytes(intake.bytes)})"]
    if intake.known:
        rejected = f" ({intake.known_rejected} rejected)" if intake.known_rejected else ""
        parts.append(f"{intake.known} in the bank{rejected}")
    if intake.twice:
        parts.append(f"{intake.twice} of the same content as others")
    return ", ".join(parts)


def _candidates(plan: Plan) -> str:
    if plan.intake is None:
        return f"{plan.candidates} of {plan.banked}"
    new = sum(job.candidates for job in plan.jobs if "window" in job.stages)
    unfinished = plan.candidates - new
    rest = f", {unfinished} of these unfinished" if unfinished else ""
    return f"{new} new, {plan.banked} in the bank{rest}"


def _sample(plan: Plan) -> str | None:
    samples = [job.sample for job in plan.jobs if job.sample is not None]
    frames = sum(len(sample.seen) for sample in samples)
    if not samples:
        return "nothing is left to do"
    return f"{sum(sample.candidates for sample in samples)} candidates of {frames} frames, on which the rest is based"


def _relabelled(plan: Plan) -> str | None:
    if plan.relabelled is None or plan.relabelled[0] == 0:
        return None
    scored, before, after = plan.relabelled
    return f"{scored} scored before, {after} of them kept ({before} until now)"


def _kept_text(plan: Plan, expected: Forecast) -> str:
    share = f"{100 * expected.kept / expected.scored:.1f} %"
    text = f"{_about(plan, expected.kept)} of {expected.scored} ({share})"
    if _is_census(plan):
        return text
    return f"{text}, with 95 % confidence {floor(expected.least)} to {ceil(expected.most)}"


def _about(plan: Plan, number: float) -> str:
    return f"{'' if _is_census(plan) else 'about '}{round(number)}"


def _is_census(plan: Plan) -> bool:
    """Say whether every candidate whose verdict is open was in the sample."""
    samples = [job.sample for job in plan.jobs if job.sample is not None and "score" in job.stages]
    return all(sample.candidates == sample.total for sample in samples)


def _time(plan: Plan, seconds: Seconds) -> str:
    run = plan.settings.run
    workers = run.workers or os.cpu_count() or 1
    told = f"about {_duration(seconds.wall / workers)} with {workers} local worker{'s' if workers > 1 else ''}"
    if run.scheduler is not None:  # how many workers it has is only known to those who connect
        told = f"about {_duration(seconds.wall)} of one worker, shared by those of the scheduler"
    return f"{told} ({_duration(seconds.cpu)} of processor time)"


def _duration(seconds: float) -> str:
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"


def _failure_lines(plan: Plan) -> list[str]:
    """Return what sources cannot be used, by reasons that differ in numbers only."""
    groups: dict[str, list[str]] = {}
    for path, reason in sorted(plan.failures.items()):
        groups.setdefault(re.sub("[0-9]+", "#", reason), []).append(path)
    if not groups:
        return []
    what = "would be rejected" if plan.intake is not None else "cannot be read"
    lines = [f"\n{len(plan.failures)} {'source' if len(plan.failures) == 1 else 'sources'} {what}"]
    for paths in sorted(groups.values(), key=lambda paths: (-len(paths), paths)):
        more = f" and {len(paths) - NAMED} more" if len(paths) > NAMED else ""
        lines.append(f"{len(paths):>7}  {plan.failures[paths[0]]}: {', '.join(paths[:NAMED])}{more}")
    return lines
