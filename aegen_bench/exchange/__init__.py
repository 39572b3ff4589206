"""Results on their way to other people and other tools: packed into one file, exported, and verified."""
