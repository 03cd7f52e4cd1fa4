"""Writing a network as ONNX, in float32 or in int8.

torch is imported here, ahead of every module of this package that imports onnx: where both link the same shared
libonnx, as in Debian, the other order registers every operator twice and says so in two thousand lines.
"""

import torch as torch  # for its side effect
