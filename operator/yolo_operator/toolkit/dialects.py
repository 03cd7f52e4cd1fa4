"""The dialects, for the rooms above: they lie below `api`, whose enums and rules are made from them."""

from yolo_operator.dialects import Dialect, dialect

__all__ = ["Dialect", "dialect"]
