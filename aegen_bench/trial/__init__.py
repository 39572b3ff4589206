"""One trial: its settings made into a model, trained, sampled and scored, and what it leaves on disk."""
