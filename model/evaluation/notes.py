"""What the numbers of an evaluation may be compared with: told beside every table, in sentences made from the facts."""

from __future__ import annotations

from model.evaluation.results import Results
from model.evaluation.scoring import MetricSettings
from model.evaluation.statistics import FEW
from model.evaluation.testset import TestSet


def notes(results: Results, settings: MetricSettings) -> list[str]:
    """Return the sentences, the most important ones first."""
    testset = results.testset
    told = [
        "The rows may be compared with each other: all saw the same photographs, and each mean is over the pictures "
        f"that all methods have ({len(results.common)} of {len(testset.pictures)}).",
        f"They may be compared with other numbers of this test set alone (fingerprint {testset.fingerprint()[:12]}), "
        "and not with the numbers that Santos et al. 2020 printed: theirs are of 75 other pictures.",
        *_about_testset(testset),
        _about_scale(settings),
        "The interval says how the mean would move with other scenes of the same kind (bootstrap over scenes, BCa); it "
        "says nothing of scenes of another kind, nor of training again with another seed.",
    ]
    if results.testset.scenes < FEW:
        told.append(f"{testset.scenes} scenes are few: take the intervals for a lower bound of the doubt.")
    networks = [m for m in results.methods if m.kind == "network"]
    if len({(m.facts.get("width"), m.facts.get("trained")) for m in networks}) > 1:
        told.append("The networks differ in width or training, as the table says: what differs is not masking alone.")
    narrow = [method for method in networks if method.facts.get("width") not in (None, "64")]
    told += [f"{method.name} has width {method.facts['width']}; the paper's network has 64." for method in narrow]
    return told


def _about_testset(testset: TestSet) -> list[str]:
    if testset.split is None:
        told = ["The pictures come from a folder: nothing here says that no method was trained on them."]
    else:
        told = ["The pictures are of sources that the bank holds out; results of other methods may have seen them."]
    if testset.wanted > testset.candidates:
        told.append(f"{testset.wanted} sources were asked for, and there were {testset.candidates}.")
    if testset.max_side is not None:
        told.append(
            f"Frames were shrunk to {testset.max_side} pixels at most: texture is finer, and noise lower, than in full."
        )
    if testset.saturated:
        shares = ", ".join(f"{100 * share:g}" for share in testset.saturated)
        told.append(
            f"Each source was photographed with {shares} % of its channel values saturated, not with a drawn share."
        )
    return told


def _about_scale(settings: MetricSettings) -> str:
    scale = {
        "none": "Radiance was taken as each method gave it, in units of the sensor's clipping level",
        "exposed": "Each result was multiplied by one factor, found on its well-exposed pixels",
    }[settings.alignment]
    return (
        f"{scale}; metrics of absolute light take references at a mean of {settings.mean_luminance:g} cd/m2, "
        f"and {settings.ppd:g} pixels per degree. Other settings give other numbers."
    )
