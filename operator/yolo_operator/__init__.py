"""A Kubernetes operator for YOLOv4 experiments on NVIDIA TAO."""

__version__ = "0.1.0"
