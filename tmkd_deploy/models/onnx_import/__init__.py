"""ONNX files of other tools as torch modules, built from the layers that quantizers know."""
