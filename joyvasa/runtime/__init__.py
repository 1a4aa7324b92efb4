"""Devices, memory, files, ONNX sessions and validation errors."""
