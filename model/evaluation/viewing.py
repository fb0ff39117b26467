"""What the page's viewer shows: each picture of the test set with the previews of all methods that ever ran on it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from model.evaluation.results import Results
from model.evaluation.sections import VIEWER, Shown, Viewer, finite, load_viewer, save
from model.evaluation.testset import Picture


def add_to_viewer(out: Path, results: Results, references: Mapping[str, str]) -> Viewer:
    """Add these results to OUT/viewer.json. Methods of earlier commands stay, as long as their previews are there.

    `references` are the previews of ground truths by picture; a picture that never had one is not shown.
    """
    fingerprint = results.testset.fingerprint()
    before = {shown.name: shown for shown in load_viewer(out, fingerprint).pictures}
    known = {name: shown.reference for name, shown in before.items() if (out / shown.reference).is_file()}
    known |= references
    pictures = [
        _shown(out, picture, results, known[picture.name], before.get(picture.name))
        for picture in results.testset.pictures
        if picture.name in known
    ]
    viewer = Viewer(testset=fingerprint, pictures=pictures)
    save(out, VIEWER, viewer)
    return viewer


def _shown(out: Path, picture: Picture, results: Results, reference: str, before: Shown | None) -> Shown:
    previews = {name: file for name, file in (before.previews if before else {}).items() if (out / file).is_file()}
    numbers = {name: before.numbers[name] for name in previews} if before else {}
    for method in results.methods:
        previews.pop(method.name, None)  # an old one must not pass for what failed now
        numbers.pop(method.name, None)
        score = results.scores[method.name, picture.name]
        if score.preview is not None:
            previews[method.name] = score.preview
            numbers[method.name] = {metric: finite(value) for metric, value in score.numbers.items()}
    return Shown(
        name=picture.name,
        title=picture.title,
        saturated_pixels=picture.saturated_pixels,
        licence=picture.licence,
        attribution=picture.attribution,
        reference=reference,
        previews=previews,
        numbers=numbers,
    )
