"""The commands. `cli` parses the command line, `request` resolves it, and the other modules carry it out."""
