"""Precision, compilation and determinism."""

from __future__ import annotations

import os

import pytest
import torch

from model.arithmetic import cannot_compile, choose_precision, compile_network, determinism
from model.config import TrainSettings
from model.losses import reconstruction_loss
from model.unet import Architecture, MaskedUNet, Masking

CPU = torch.device("cpu")
torchs_own = pytest.mark.filterwarnings(  # torch.compile warns of what torch itself does
    "ignore:.*script_method:DeprecationWarning", "ignore:.*should not be instantiated:DeprecationWarning"
)


def small(masking: Masking = "feature") -> MaskedUNet:
    network = MaskedUNet(Architecture(width=2, masking=masking))
    network.initialise(0)
    return network


def picture() -> tuple[torch.Tensor, torch.Tensor]:
    T = torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    return T, (T < 0.9).float()


def test_precision_is_the_settings_or_the_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_precision(TrainSettings(), CPU) == torch.float32
    assert choose_precision(TrainSettings(precision="bfloat16"), CPU) == torch.bfloat16
    cuda = torch.device("cuda")
    assert choose_precision(TrainSettings(precision="float32"), cuda) == torch.float32
    for able, expected in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation, able=able: able)
        assert choose_precision(TrainSettings(), cuda) == expected


@pytest.mark.parametrize("masking", ["feature", "gated"])
def test_output_and_gradients_are_float32_and_every_weight_has_one(masking: Masking) -> None:
    network, (T, M) = small(masking), picture()
    with torch.autocast("cpu", torch.bfloat16):
        Y = network(T, M)
    assert Y.dtype == torch.float32
    assert not torch.equal(Y, Y.bfloat16().float())  # not rounded on the way either
    reconstruction_loss(Y, T, M).backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in network.parameters())


@torchs_own
def test_the_network_compiles_as_a_whole_to_the_same_numbers() -> None:
    network, (T, M) = small(), picture()
    compiled = torch.compile(network, backend="aot_eager", fullgraph=True)  # all but the C++ compiler
    gradients = []
    for forward in (network, compiled):
        network.zero_grad()
        reconstruction_loss(forward(T, M), T, M).backward()  # type: ignore[no-untyped-call]
        gradients.append([p.grad.clone() for p in network.parameters() if p.grad is not None])
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


@torchs_own
def test_only_what_is_asked_for_is_compiled() -> None:
    for wanted, expected in ((True, True), (False, False), ("auto", False)):
        network = small()
        names = list(network.state_dict())
        compile_network(TrainSettings.model_validate({"compile": wanted}), network)
        assert (network._compiled_call_impl is not None) is expected
        assert list(network.state_dict()) == names


def test_determinism_lasts_as_long_as_its_block() -> None:
    before = torch.backends.cudnn.benchmark
    with determinism(True):
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.backends.cudnn.benchmark
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.backends.cudnn.benchmark == before
    with determinism(False):
        assert not torch.are_deterministic_algorithms_enabled()
        assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ


@torchs_own
def test_a_failure_of_the_compiler_is_known() -> None:
    def backend(*_: object) -> None:
        raise OSError("there is no compiler")

    with pytest.raises(RuntimeError) as caught:
        torch.compile(lambda x: x + 1, backend=backend)(torch.zeros(1))
    assert cannot_compile(caught.value)
    assert not cannot_compile(RuntimeError("shape mismatch"))
