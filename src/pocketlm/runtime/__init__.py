"""Predictions from a Pocket with numpy, onnxruntime and tokenizers alone."""
