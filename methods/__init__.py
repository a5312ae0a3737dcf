"""What is done with a model: train, sample, evaluate."""
