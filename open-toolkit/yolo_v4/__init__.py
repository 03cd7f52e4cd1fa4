"""The open toolkit: YOLOv4 training, pruning, quantisation and export by the command line of NVIDIA TAO."""

__version__ = "0.1.0"
