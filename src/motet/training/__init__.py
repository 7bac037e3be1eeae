"""Objectives, the one training loop, and the Run that it leaves."""
