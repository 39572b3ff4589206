"""Exchanging results with other people and tools: packing them into one file, exporting, and verifying them."""
