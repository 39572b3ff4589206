"""One trial: build the model from its settings, train it, sample, score, and write the results."""
