"""torch to ONNX, checked on real images."""
