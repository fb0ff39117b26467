"""All scores of a command: which pictures every method has, and their numbers in the order of the test set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from model.evaluation.methods import Method
from model.evaluation.scoring import Score
from model.evaluation.testset import Picture, TestSet


@dataclass(frozen=True, slots=True)
class Results:
    """Scores by (method, picture)."""

    testset: TestSet
    methods: Sequence[Method]
    scores: Mapping[tuple[str, str], Score]

    @classmethod
    def of(cls, testset: TestSet, methods: Sequence[Method], scores: Iterable[Score]) -> Results:
        """Sort scores into their places; in which order they came does not matter."""
        return cls(testset, methods, {(score.method, score.picture): score for score in scores})

    def has(self, method: Method, picture: Picture) -> bool:
        """Say whether there are numbers."""
        return self.scores[method.name, picture.name].reason is None

    @property
    def complete(self) -> list[Method]:
        """Return the methods with at least one result."""
        return [m for m in self.methods if any(self.has(m, picture) for picture in self.testset.pictures)]

    @property
    def common(self) -> list[Picture]:
        """Return the pictures that every method with results has: only over these may means be compared."""
        methods = self.complete
        return [p for p in self.testset.pictures if methods and all(self.has(m, p) for m in methods)]

    @property
    def metrics(self) -> list[str]:
        """Return the names of the metrics, in the order of `model.metrics.compare`."""
        return next((list(score.numbers) for score in self.scores.values() if score.reason is None), [])

    def values(self, method: Method, metric: str, pictures: Sequence[Picture]) -> list[float]:
        """Return a method's numbers on these pictures."""
        return [self.scores[method.name, picture.name].numbers[metric] for picture in pictures]

    @property
    def failed(self) -> list[Score]:
        """Return the scores without numbers."""
        return [score for score in self.scores.values() if score.reason is not None]
