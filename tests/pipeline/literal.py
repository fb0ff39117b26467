"""Camera and score in plain numpy and OpenCV, operation by operation: the slow twin of the compiled loops.

One thread, float32, as an honest writer would make it. Legend: S patch size. patch and hdr (S, S, 3) float32, ldr
(S, S, 3) uint8, planes (S, S) float32.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from pipeline.camera import decode_jpeg, encode_jpeg, response
from pipeline.records import ByteImage, Camera, FloatImage, Window, generator
from pipeline.score import Score, well_exposed_mask


def cut(frame: FloatImage, window: Window) -> FloatImage:
    """The window, resized bilinearly if needed, mirrored if asked, clamped to the scene's range."""
    patch, size = frame[window.y : window.y + window.height, window.x : window.x + window.width], window.patch_size
    if patch.shape[:2] != (size, size):
        patch = np.asarray(cv2.resize(patch, (size, size), interpolation=cv2.INTER_LINEAR), dtype=np.float32)
    return np.clip(patch[:, ::-1] if window.flip else patch, np.float32(1e-5), np.float32(1e5))


def resolve_exposure(patch: FloatImage, clip_fraction: float) -> float:
    """The factor that scales the exact quantile of all values to 1.0."""
    values = patch.ravel()
    index = min(max(int(np.ceil(clip_fraction * values.size)) - 1, 0), values.size - 1)
    return 1.0 / float(np.partition(values, index)[index])


def expose(patch: FloatImage, camera: Camera) -> FloatImage:
    """Scale, noise, hue and saturation in the square-root domain, clamp: the ground truth."""
    hdr = patch * np.float32(camera.exposure)
    if camera.noise_sigma > 0:
        noise = generator(camera.seed).standard_normal(hdr.shape, dtype=np.float32)
        hdr += noise * np.float32(camera.noise_sigma)
        np.maximum(hdr, 0.0, out=hdr)
    hsv = cv2.cvtColor(np.sqrt(hdr), cv2.COLOR_RGB2HSV)
    hsv[..., 0] = np.mod(hsv[..., 0] + np.float32(camera.hue_shift), np.float32(360.0))
    hsv[..., 1] = np.clip(hsv[..., 1] + np.float32(camera.saturation_shift), 0.0, 1.0)
    root = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    return np.asarray(np.clip(np.square(root, dtype=np.float32), 1e-5, 1e10), np.float32)


def quantise(hdr: FloatImage, camera: Camera) -> ByteImage:
    """Camera curve, clip at 1, 8 bits."""
    encoded = response(hdr, camera.curve_n, camera.curve_sigma)
    return np.asarray(np.floor(encoded * np.float32(255.0) + np.float32(0.5)), np.uint8)


def photograph(hdr: FloatImage, camera: Camera) -> ByteImage:
    """Camera curve, clip at 1, 8 bits, JPEG."""
    ldr = quantise(hdr, camera)
    return ldr if camera.jpeg_quality == 0 else decode_jpeg(encode_jpeg(ldr, camera.jpeg_quality))


def shoot(frame: FloatImage, window: Window, camera: Camera) -> tuple[FloatImage, ByteImage]:
    """Resolve the camera on a window and photograph it: `(hdr, ldr)`."""
    patch = cut(frame, window)
    camera = replace(camera, exposure=resolve_exposure(patch, camera.clip_fraction))
    hdr = expose(patch, camera)
    return hdr, photograph(hdr, camera)


def detail_layer(hdr: FloatImage, sigma_color: float = 100.0, sigma_space: float = 10.0) -> FloatImage:
    """D = L - bilateral(L) by OpenCV's filter."""
    log_gray = np.log1p(cv2.cvtColor(hdr, cv2.COLOR_RGB2GRAY))
    base = cv2.bilateralFilter(log_gray, -1, sigma_color, sigma_space)
    return np.asarray(log_gray - base, dtype=np.float32)


def gradient_magnitude(detail: FloatImage) -> FloatImage:
    """G = |Sobel_x D| + |Sobel_y D|."""
    horizontal = cv2.Sobel(detail, cv2.CV_32F, 1, 0, ksize=3)
    vertical = cv2.Sobel(detail, cv2.CV_32F, 0, 1, ksize=3)
    return np.asarray(np.abs(horizontal) + np.abs(vertical), dtype=np.float32)


def score_patch(hdr: FloatImage, ldr: ByteImage, sigma_color: float = 100.0, sigma_space: float = 10.0) -> Score:
    """Algorithm 1 over the saturated area, and over the patch."""
    weight = (1.0 - well_exposed_mask(ldr)).sum(axis=2, dtype=np.float64)
    total = float(weight.sum())
    if total == 0.0:
        return Score(0.0, 0.0, 0.0)
    weighted = float((gradient_magnitude(detail_layer(hdr, sigma_color, sigma_space)) * weight).sum())
    return Score(total / ldr.size, weighted / total, weighted / ldr.size)
