"""What trials would cost: FLOPs counted without computing, speed from a few real steps, a forecast from both."""
