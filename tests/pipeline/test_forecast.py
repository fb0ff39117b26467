"""The arithmetic of a forecast, by hand, and how it is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.config import Settings, resolve
from pipeline.forecast import forecast, forecast_lines
from pipeline.observation import Observation, Sample, Seconds, Unit
from pipeline.plan import Intake, Job, Plan
from pipeline.sample import Stage


def planned(settings: Settings, stages: tuple[Stage, ...] = ("window", "simulate", "score", "export")) -> Plan:
    """100 frames of 50 candidates; of 2 frames 10 candidates each were sampled, of which 10 and 0 were kept."""
    units = [Unit({"source_id": "a", "path": "a.exr"}, Path("a.exr"), number, 50) for number in range(100)]
    seen = tuple(
        Observation(
            units[0],
            decode=Seconds(2, 1),
            rows=[{}] * 10,
            kept=kept,
            candidates=Seconds(10, 5),
            exported=kept,
            export=Seconds(kept * 0.5, kept * 0.25),
            stored=kept * 1000,
        )
        for kept in (10, 0)
    )
    job = Job(stages, 1, units, Sample(100, 5000, seen, 20.0, {}))
    return Plan("run", settings, 0, [job], Intake(100, 5000, 0, 0, 0, Seconds(7, 3)))


def test_a_forecast_is_the_sample_times_what_there_is() -> None:
    expected = forecast(planned(resolve([{"export": {"shard_rows": 25}}])))
    assert expected.scored == 5000
    assert expected.kept == expected.exported == 2500
    assert expected.least < 500  # two frames say little
    assert expected.most > 4500
    assert expected.tables == 5000 * 20
    assert expected.arrays == 2500 * 1000
    # Identification 7; 100 frames decoded, the 50 that keep something once more, and those of 99 in which another shard
    # begins; 5000 candidates of 1 s, 2500 patches of 0.5 s.
    assert expected.seconds.wall == pytest.approx(7 + (100 + 50 + 99) * 2 + 5000 + 1250)
    assert expected.seconds.cpu == pytest.approx(3 + (100 + 50 + 99) + 2500 + 625)


def test_a_limit_bounds_what_is_exported() -> None:
    plan = planned(resolve([{"export": {"shard_rows": 25}}]))
    plan.room = 25
    expected = forecast(plan)
    assert expected.kept == 2500
    assert expected.exported == 25
    assert expected.arrays == 25 * 1000
    assert "exported     about 25 more" in forecast_lines(plan)


def test_patches_of_which_none_was_encoded_are_counted_raw() -> None:
    plan = planned(Settings())
    (job,) = plan.jobs
    assert job.sample is not None
    for one in job.sample.seen:
        one.exported = one.stored = 0
    assert forecast(plan).arrays == 2500 * 512 * 512 * 3 * 3


def test_time_is_told_for_the_workers_that_there_are() -> None:
    lines = forecast_lines(planned(resolve([{"run": {"workers": 4}}])))
    assert lines[-1].startswith("time         about 28 minutes with 4 local workers (")
    lines = forecast_lines(planned(resolve([{"run": {"scheduler": "tcp://host:8786"}}])))
    assert lines[-1].startswith("time         about 1.9 hours of one worker, shared by those of the scheduler (")


def test_the_lines_say_what_is_a_guess() -> None:
    lines = forecast_lines(planned(Settings()))
    assert "candidates   5000 new, 0 in the bank" in lines
    assert "sample       20 candidates of 2 frames, on which the rest is based" in lines
    (kept,) = [line for line in lines if line.startswith("kept")]
    assert kept.startswith("kept         about 2500 of 5000 (50.0 %), with 95 % confidence ")


def test_reasons_that_differ_in_numbers_only_are_told_together() -> None:
    plan = Plan("run", Settings(), 0, intake=Intake(6, 0, 0, 0, 0, Seconds()))
    plan.failures = {f"{name}.exr": f"{number}x10 pixels are smaller" for number, name in enumerate("abcd")}
    plan.failures["e.exr"] = "it is damaged"
    lines = forecast_lines(plan)
    assert lines[-3:] == [
        "\n5 sources would be rejected",
        "      4  0x10 pixels are smaller: a.exr, b.exr, c.exr and 1 more",
        "      1  it is damaged: e.exr",
    ]
    assert "sample       nothing is left to do" in lines
