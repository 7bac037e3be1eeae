"""Recordings, datasets, batches, and the ways into them."""
