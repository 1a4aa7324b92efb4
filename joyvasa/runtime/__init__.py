"""What the machine brings: devices, memory and ONNX sessions."""
