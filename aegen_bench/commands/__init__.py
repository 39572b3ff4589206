"""What the commands do. `cli` parses; here a command line becomes a request, and a request what it asked for."""
