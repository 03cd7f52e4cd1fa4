"""Writing a network as ONNX, in float32 or in int8."""
