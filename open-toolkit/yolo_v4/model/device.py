"""Where and how precisely to compute."""

from __future__ import annotations

import torch

from yolo_v4.cpus import compute_threads


def pick_device() -> torch.device:
    """The first CUDA device, else the CPU with as many threads as do it good."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    torch.set_num_threads(compute_threads())
    return torch.device("cpu")


def half_precision_helps(device: torch.device) -> bool:
    """Whether bfloat16 is native, and so faster than float32 rather than emulated."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    try:
        return "avx512_bf16" in _cpu_flags() or "amx_bf16" in _cpu_flags()
    except OSError:
        return False


def _cpu_flags() -> list[str]:
    with open("/proc/cpuinfo", encoding="utf-8") as file:  # noqa: PTH123 - read up to the first CPU's line only
        for line in file:
            if line.startswith("flags"):
                return line.split()
    return []


def prepare_images(images: torch.Tensor, mean: tuple[float, float, float]) -> torch.Tensor:
    """Pixels uint8 (batch, h, w, 3) RGB to the network's input: float (batch, 3, h, w) BGR less the mean (r, g, b).

    The result lies in channels-last order, in which convolutions on a CPU are fastest.
    """
    blue_green_red = torch.tensor(mean[::-1], device=images.device)
    return (images.flip(-1).float() - blue_green_red).permute(0, 3, 1, 2)
