"""Graphs of models that write text, drawn node by node, with keys and values of past tokens as inputs and outputs."""
