"""What a run found, for a reader: pure functions from arrays to a matplotlib `Figure`; nothing here opens a window.

`scores` says how well it went, `decoded` shows what was decoded, `neurons` who told it, and `style` saves it.
"""
