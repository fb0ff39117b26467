"""Means over pairs that differ in what is defined, and tables whose columns stand under each other."""

from __future__ import annotations

import math

from model.comparison_report import aligned, folder_text, json_ready, means, pair_text
from model.metrics import compare, headline
from model.metrics.result import Record
from tests.model.reference_pictures import waves


def record(value: float | None, factor: float = 2.0, gamma: float | None = None) -> Record:
    reason: Record = {} if value is not None else {"reason": "too small"}
    shared: Record = {"version": "2.2.1", "ppd": 30.0, "scale": "s", "factor": factor, "encoding": "e"}
    return {"Q": value, **shared, "test_gamma": gamma, **reason}


def test_means_are_of_the_pairs_where_a_metric_is_defined() -> None:
    mean = means({"a": {"hdr_vdp_2": record(10.0)}, "b": {"hdr_vdp_2": record(None)}, "c": {"hdr_vdp_2": record(30.0)}})
    assert mean["hdr_vdp_2"]["Q"] == 20.0
    assert mean["hdr_vdp_2"]["pairs"] == 2
    assert "reason" not in mean["hdr_vdp_2"]


def test_means_of_nothing_say_why() -> None:
    mean = means({"a": {"hdr_vdp_2": record(None)}})["hdr_vdp_2"]
    assert (mean["Q"], mean["pairs"], mean["reason"]) == (None, 0, "it is defined for none of the pairs")


def test_means_keep_only_conditions_that_are_shared() -> None:
    mean = means({"a": {"hdr_vdp_2": record(1.0, 2.0, 2.2)}, "b": {"hdr_vdp_2": record(2.0, 3.0, None)}})["hdr_vdp_2"]
    assert {"version": "2.2.1", "ppd": 30.0, "encoding": "e"}.items() <= mean.items()
    assert not {"factor", "test_gamma"} & mean.keys()


def test_infinite_means_are_null() -> None:
    dB: dict[str, Record] = {"psnr": {**record(0.0), "dB": math.inf}}
    ready = json_ready(means({"a": dB}))["psnr"]
    assert ready["dB"] is None
    assert str(ready["reason"]).startswith("infinite")


def test_columns_stand_under_each_other() -> None:
    lines = aligned([("name", "value"), ("a", "1.5"), ("longer", "-22.25"), ("b", "-")])
    assert lines == ["name     value", "a          1.5", "longer  -22.25", "b            -"]


def test_tables_name_every_metric_and_condition() -> None:
    T, R = waves(20, 24)
    records = compare(T, R)
    text = pair_text({name: {**found, "test_gamma": None} for name, found in records.items()})
    for name, value in headline(records).items():
        line = next(line for line in text.splitlines() if line.startswith(f"{name} "))
        assert f"{value:.4f}" in line
        assert str(records[name]["version"]) in line
        assert str(records[name]["encoding"]) in line
    assert "test picture: HDR" in text
    assert "_crf: after the CRF correction" in text


def test_the_text_of_folders_tells_mixed_tests() -> None:
    found = {"a": {"hdr_vdp_2": record(1.0, gamma=2.2)}, "b": {"hdr_vdp_2": record(2.0)}}
    text = folder_text(found, means(found))
    assert "test pictures: HDR and LDR ones" in text
    assert "mean     1.5000" in text
    assert "_crf" not in text
