"""The cost of trials: FLOPs counted without computing, speed measured on a few steps, and forecasts from both."""
