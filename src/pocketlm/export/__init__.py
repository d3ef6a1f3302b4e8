"""From a trained model to what a runtime reads, proved to say the same."""
