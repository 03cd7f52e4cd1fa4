"""The open toolkit's tests: this folder needs numpy and Pillow at most, ``torch/`` needs the image's torch stack."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

# In the repository the package lies beside the operator's; in the toolkit's image it is on the path already.
for parent in Path(__file__).resolve().parents:
    if (parent / "open-toolkit" / "yolo_v4").is_dir():
        sys.path.insert(0, str(parent / "open-toolkit"))
        break

SPEC = """
random_seed: 7
yolov4_config {
  big_anchor_shape: "[(40.00, 40.00)]"
  mid_anchor_shape: "[(24.00, 20.00)]"
  small_anchor_shape: "[(12.00, 12.00), (16.00, 10.00)]"
  box_matching_iou: 0.25
  matching_neutral_box_iou: 0.5
  arch: "resnet"
  nlayers: 10
  loss_loc_weight: 5.0
  loss_neg_obj_weights: 50.0
  loss_class_weights: 1.0
  big_grid_xy_extend: 0.05
  mid_grid_xy_extend: 0.1
  small_grid_xy_extend: 0.2
}
training_config {
  batch_size_per_gpu: 4
  num_epochs: 4
  checkpoint_interval: 2
  n_workers: 1
  learning_rate {
    soft_start_cosine_annealing_schedule {
      min_learning_rate: 1e-5
      max_learning_rate: 2e-3
      soft_start: 0.25
    }
  }
  regularizer { type: L1 weight: 1e-4 }
  optimizer { adam { epsilon: 1e-7 beta1: 0.9 beta2: 0.999 amsgrad: false } }
}
eval_config { average_precision_mode: SAMPLE batch_size: 4 matching_iou_threshold: 0.5 }
nms_config { confidence_threshold: 0.001 clustering_iou_threshold: 0.5 top_k: 50 }
augmentation_config {
  hue: 0.1
  saturation: 1.5
  exposure: 1.5
  vertical_flip: 0
  horizontal_flip: 0.5
  jitter: 0.2
  output_width: 64
  output_height: 64
  output_channel: 3
  randomize_input_shape_period: 0
  mosaic_prob: 0.3
  mosaic_min_ratio: 0.2
}
dataset_config {
  data_sources {
    label_directory_path: "/dataset/train/labels"
    image_directory_path: "/dataset/train/images"
  }
  target_class_mapping { key: "0" value: "Left" }
  target_class_mapping { key: "right" value: "right" }
  validation_data_sources {
    label_directory_path: "/dataset/valid/labels"
    image_directory_path: "/dataset/valid/images"
  }
}
open_config { width_multiplier: 0.25 flip_pairs { left: "left" right: "right" } }
"""


@pytest.fixture
def spec_text() -> str:
    """A complete, valid experiment spec of a tiny network."""
    return SPEC
