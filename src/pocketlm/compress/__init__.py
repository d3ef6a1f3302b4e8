"""Passes on pretrained models: model to model, one file a method."""
