"""`spec.dataset`: images, labels and classes."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from yolo_operator.api.base import Model, ObjectName, Rule, SafeName, SafePath


class LabelFormat(StrEnum):
    """How boxes are written."""

    KITTI = "kitti"
    DARKNET = "darknet"


class ImageExtension(StrEnum):
    """What image files are called; TAO's loader takes lower case only."""

    PNG = "png"
    JPG = "jpg"
    JPEG = "jpeg"
    BMP = "bmp"


class LabelledImages(Model):
    """A directory of images and the one of their label files (the same is fine for darknet)."""

    images: SafePath
    labels: SafePath


class Images(Model):
    """A directory of images."""

    images: SafePath


class Dataset(Model):
    """The data. Paths are relative to the dataset's claim when one is named, else to the workspace."""

    format: LabelFormat
    """darknet: `id cx cy w h`; `prepare` converts it to KITTI. kitti: used as it is after checks."""
    claim_name: ObjectName | None = None
    """A claim of the same namespace, mounted read-only at /dataset; absent: the data lie in the workspace."""
    sub_path: Annotated[SafePath, Field(max_length=256)] | None = None
    """The directory on the dataset's claim."""
    train: LabelledImages
    validation: LabelledImages
    unlabelled: Images | None = None
    """Images without labels: the input of `inference`."""
    classes: Annotated[dict[str, SafeName], Field(min_length=1, max_length=256)]
    """Label file's class (darknet: the id, kitti: the name) to the model's class."""
    include_difficult_in_training: bool = False
    """Also train on objects whose KITTI occlusion is not 0."""
    image_extension: ImageExtension | None = None
    """Needed with images of 16 bits, which must be png; else the files' own."""

    rules: ClassVar = (
        Rule(
            cel="self.format != 'darknet' || self.classes.all(k, k.matches('^[0-9]+$'))",
            message="darknet labels name classes by id: the keys must be whole numbers",
            check=lambda d: d.format is not LabelFormat.DARKNET or all(key.isdecimal() for key in d.classes),
            field=".classes",
        ),
        Rule(
            cel="self.classes.all(k, k.matches('^[^\\\\s\\\\x00-\\\\x1f\"]{1,63}$'))",
            message="a class in a label file is one word: the keys must have 1 to 63 characters, no blanks and no quotes",
            check=lambda d: all(re.fullmatch(r"[^\s\x00-\x1f\"]{1,63}", key, re.ASCII) for key in d.classes),
            field=".classes",
        ),
        Rule(
            cel="!has(self.subPath) || has(self.claimName)",
            message="subPath is the directory on dataset.claimName, which is not set",
            check=lambda d: d.sub_path is None or d.claim_name is not None,
            field=".subPath",
        ),
    )
