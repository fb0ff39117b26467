"""Errors of training and reconstruction that a user can meet; each carries one sentence that says what to do.

HdrprepError (pipeline.errors)   status 1
    CheckpointError              weights or a checkpoint that cannot be read, written or used
    VggError                     weights of VGG that cannot be had or used
    TrainingError                a training run that cannot go on
    PictureError                 one picture that cannot be reconstructed: the others are done all the same
    EvaluationError              a test set, a method or one of its results that cannot be used
    MetricError                  two pictures that cannot be compared

A wrong command line is a UsageError or ConfigError of the pipeline (status 2), an unusable bank a BankError.
"""

from __future__ import annotations

from pipeline.errors import HdrprepError


class CheckpointError(HdrprepError):
    """A file of weights or a checkpoint cannot be read, written or used."""


class VggError(HdrprepError):
    """The weights of VGG, which the perceptual terms need, cannot be had or used."""


class TrainingError(HdrprepError):
    """The training run cannot go on."""


class PictureError(HdrprepError):
    """A picture cannot be reconstructed."""


class EvaluationError(HdrprepError):
    """A test set, a method or one of its results cannot be used."""


class MetricError(HdrprepError, ValueError):
    """Two pictures cannot be compared, or not by this metric."""
