"""The virtual camera of Eilertsen et al. 2017: from a window of a frame to the photograph and its ground truth.

The order of operations is the published one: cut and mirror, clamp, expose, sensor noise, hue and saturation, square;
that is the ground truth. Then the camera curve, 8 bits and JPEG; that is the photograph.

Legend: S patch size in pixels. hdr (S, S, 3) float32, scene-linear BT.709, the sensor clips at 1.0.
ldr (S, S, 3) uint8, RGB, display-encoded, T = ldr / 255.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Self

import cv2
import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from pipeline.noise import noise_state
from pipeline.records import ByteImage, Camera, FloatImage, Recipe, Window, derive_seed, generator
from pipeline.sensor import code_table, expose_rows, order_statistic, quantise

RADIANCE_FLOOR, RADIANCE_CEILING = 1e-5, 1e5  # of the scene, before exposure (Eilertsen et al. 2017, published tool)
TRUTH_FLOOR, TRUTH_CEILING = 1e-5, 1e10  # of the ground truth, in units of the clipping level (the same)


class Distribution(BaseModel):
    """How one number of the camera is drawn: exactly one of `uniform`, `normal`, `integers`, `constant`.

    In a configuration file: `0.5`, `{uniform: [0, 1]}`, `{normal: [mean, standard deviation], clip: [low, high]}`,
    `{integers: [first, last]}`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    uniform: tuple[float, float] | None = None  # low, high
    normal: tuple[float, Annotated[float, Field(ge=0)]] | None = None  # mean, standard deviation
    integers: tuple[int, int] | None = None  # first, last, both included
    constant: float | None = None
    clip: tuple[float, float] | None = None  # what is drawn is clamped to this range

    @model_validator(mode="before")
    @classmethod
    def _accept_number(cls, value: object) -> object:
        return {"constant": value} if isinstance(value, int | float | str) else value  # YAML reads 1e-3 as text

    @model_validator(mode="after")
    def _check(self) -> Self:
        given = [self.uniform, self.normal, self.integers, self.constant]
        if sum(entry is not None for entry in given) != 1:
            raise ValueError("give exactly one of uniform, normal, integers, or a plain number")
        for low, high in filter(None, (self.uniform, self.integers, self.clip)):
            if low > high:
                raise ValueError(f"the range [{low}, {high}] is empty")
        return self

    def bounds(self) -> tuple[float, float]:
        """Return the lowest and highest number that can be drawn."""
        if self.normal is not None:
            mean, deviation = self.normal
            low, high = (mean, mean) if deviation == 0 else (-np.inf, np.inf)
        elif self.constant is not None:
            low = high = self.constant
        else:
            low, high = self.uniform or self.integers or (0.0, 0.0)
        if self.clip is not None:
            low, high = np.clip([low, high], *self.clip)
        return float(low), float(high)

    def draw(self, rng: np.random.Generator) -> float:
        """Draw one number."""
        if self.uniform is not None:
            value = float(rng.uniform(*self.uniform))
        elif self.normal is not None:
            value = float(rng.normal(*self.normal))
        elif self.integers is not None:
            value = float(rng.integers(*self.integers, endpoint=True))
        else:
            value = float(self.constant or 0.0)
        return value if self.clip is None else float(np.clip(value, *self.clip))


class CameraSettings(BaseModel):
    """The distributions that a virtual camera is drawn from (Eilertsen et al. 2017, Section 4 and supplement)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    # Quantile of all channel values that is scaled to the clipping level: 5 to 15 % of the values clip.
    clip_fraction: Distribution = Distribution(uniform=(0.85, 0.95))
    # Standard deviation of the sensor noise, in units of the clipping level.
    noise_sigma: Distribution = Distribution(uniform=(0.0, 0.01))
    hue_shift: Distribution = Distribution(normal=(0.0, 7.0))  # degrees
    saturation_shift: Distribution = Distribution(normal=(0.0, 0.1))  # of HSV saturation in [0, 1]
    curve_n: Distribution = Distribution(normal=(0.9, 0.1), clip=(0.2, 2.5))  # exponent of the response
    curve_sigma: Distribution = Distribution(normal=(0.6, 0.1), clip=(0.0, 5.0))  # knee of the response
    jpeg_quality: Distribution = Distribution(integers=(30, 100))  # 0: no JPEG compression

    @model_validator(mode="after")
    def _check(self) -> Self:
        limits = {
            "clip_fraction": (0.0, 1.0),
            "noise_sigma": (0.0, np.inf),
            "curve_n": (1e-3, np.inf),
            "curve_sigma": (0.0, np.inf),
            "jpeg_quality": (0.0, 100.0),
        }
        for name, (lowest, highest) in limits.items():
            low, high = getattr(self, name).bounds()
            if low < lowest or high > highest:
                raise ValueError(f"{name} can be drawn outside of [{lowest:g}, {highest:g}]: narrow or clip it")
        return self


def draw_camera(settings: CameraSettings, seed: int, source_id: str, frame: int, k: int) -> Camera:
    """Draw the camera of one patch; its exposure is not known before the pixels are, and is NaN here.

    Each number has a random stream of its own, so that changing one distribution changes no other number.
    """

    def draw(name: str) -> float:
        distribution: Distribution = getattr(settings, name)
        return distribution.draw(generator(derive_seed(seed, source_id, frame, k, f"camera/{name}")))

    return Camera(
        clip_fraction=draw("clip_fraction"),
        exposure=float("nan"),
        noise_sigma=draw("noise_sigma"),
        hue_shift=draw("hue_shift"),
        saturation_shift=draw("saturation_shift"),
        curve_n=draw("curve_n"),
        curve_sigma=draw("curve_sigma"),
        jpeg_quality=round(draw("jpeg_quality")),
        seed=derive_seed(seed, source_id, frame, k, "camera/noise"),
    )


def cut(frame: FloatImage, window: Window) -> FloatImage:
    """Cut a window out of a frame: (S, S, 3), resized bilinearly if needed, else a view. It is not mirrored yet."""
    patch = frame[window.y : window.y + window.height, window.x : window.x + window.width]
    size = window.patch_size
    if (window.height, window.width) == (size, size):
        return patch
    return np.asarray(cv2.resize(patch, (size, size), interpolation=cv2.INTER_LINEAR), dtype=np.float32)


def resolve_exposure(patch: FloatImage, clip_fraction: float) -> float:
    """Return the factor that scales the `clip_fraction` quantile of all values of a cut patch to 1.0.

    The quantile is exact: the smallest value that at least this share of the (S, S, 3) values, clamped to the scene's
    range, does not exceed. The public tool takes it from a histogram of 256 bins, one of which swallows the whole scene
    when a sun is in it.
    """
    index = min(max(int(np.ceil(clip_fraction * patch.size)) - 1, 0), patch.size - 1)
    quantile = order_statistic(np.ascontiguousarray(patch), index)
    return 1.0 / min(max(quantile, float(np.float32(RADIANCE_FLOOR))), RADIANCE_CEILING)


def expose(patch: FloatImage, camera: Camera, flip: bool = False) -> FloatImage:
    """Return what the sensor is offered, (S, S, 3): mirrored, clamped, scaled, noisy, hue and saturation changed.

    patch: (S, S, 3) float32 radiance, never negative. The result is the ground truth, float32 in [1e-5, 1e10]. Hue
    (modulo 360 degrees) and HSV saturation (kept in [0, 1]) are changed in the square-root domain. Raises ValueError
    where the camera's exposure is still unknown.
    """
    if not np.isfinite(camera.exposure):
        raise ValueError("the exposure is not known yet: resolve_exposure finds it")
    rows = np.ascontiguousarray(patch).reshape(len(patch), -1)
    hdr = np.empty(patch.shape, np.float32)
    numbers = np.array(
        [camera.exposure, camera.noise_sigma, camera.hue_shift / 60.0, camera.saturation_shift], np.float32
    )
    limits = np.array([RADIANCE_FLOOR, RADIANCE_CEILING, TRUTH_FLOOR, TRUTH_CEILING], np.float32)
    expose_rows(rows, flip, numbers, limits, noise_state(camera.seed), hdr.reshape(rows.shape))
    return hdr


def response(hdr: FloatImage, n: float, sigma: float) -> FloatImage:
    """Apply the camera curve f(H) = (1 + sigma) H^n / (H^n + sigma), clipped to [0, 1]; f(1) = 1."""
    # Where H is at or above 1 the curve is above 1 and clips; bounding H first keeps H^n finite.
    power = np.power(np.minimum(hdr, np.float32(1.0)), np.float32(n))
    return np.minimum((1.0 + np.float32(sigma)) * power / (power + np.float32(sigma)), np.float32(1.0))


@dataclass(frozen=True, slots=True)
class Photograph:
    """What the camera hands out: `ldr`, RGB (S, S, 3) uint8, and the very `jpeg` that it was read from.

    `jpeg` is None where the camera compresses nothing (`jpeg_quality` 0).
    """

    ldr: ByteImage
    jpeg: bytes | None


def photograph(hdr: FloatImage, camera: Camera) -> Photograph:
    """Photograph the ground truth: camera curve, clip at 1, 8 bits, JPEG."""
    ldr = np.empty(hdr.shape, np.uint8)
    quantise(np.ascontiguousarray(hdr).reshape(-1), *code_table(camera.curve_n, camera.curve_sigma), ldr.reshape(-1))
    if camera.jpeg_quality == 0:
        return Photograph(ldr, None)
    jpeg = encode_jpeg(ldr, camera.jpeg_quality)
    return Photograph(decode_jpeg(jpeg), jpeg)


def develop(hdr: FloatImage, camera: Camera) -> ByteImage:
    """Photograph the ground truth and return the pixels alone, RGB (S, S, 3) uint8."""
    return photograph(hdr, camera).ldr


def encode_jpeg(ldr: ByteImage, quality: int) -> bytes:
    """Compress an RGB picture (H, W, 3) uint8 by JPEG of the given quality (1..100), as cameras do: 4:2:0."""
    _, stream = cv2.imencode(".jpg", cv2.cvtColor(ldr, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return stream.tobytes()


def decode_jpeg(jpeg: bytes) -> ByteImage:
    """Read a JPEG that `encode_jpeg` wrote: RGB (H, W, 3) uint8."""
    decoded = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    if decoded is None:
        raise RuntimeError("OpenCV could not read back the JPEG that it wrote")
    return np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def render_photograph(frame: FloatImage, recipe: Recipe) -> tuple[FloatImage, Photograph]:
    """Render a patch as `render` does, and keep the camera's JPEG."""
    hdr = expose(cut(frame, recipe.window), recipe.camera, recipe.window.flip)
    return hdr, photograph(hdr, recipe.camera)


def render(frame: FloatImage, recipe: Recipe) -> tuple[FloatImage, ByteImage]:
    """Render a patch from its frame and its recipe: `(hdr, ldr)`. A pure function.

    frame: (H, W, 3) float32, scene-linear BT.709. hdr: (S, S, 3) float32 in [1e-5, 1e10], the sensor clips at 1.0.
    ldr: (S, S, 3) uint8.
    """
    hdr, taken = render_photograph(frame, recipe)
    return hdr, taken.ldr
