"""The open toolkit: YOLOv4 training, pruning, quantisation and export with the command line of NVIDIA TAO's ``yolo_v4``."""

__version__ = "0.1.0"
