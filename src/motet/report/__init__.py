"""What a run found, for a reader: pure functions from arrays to a matplotlib `Figure`; nothing here opens a window.

`scores` says how well it went, `decoded` shows what was decoded, `neurons` who told it. Of systems, `graphs` shows who
interacts with whom, `pair_scores` how well that is known, `individuals` what they are, `forecasts` where they go, and
`trajectories` what a simulation gave. `style` is what all share.
"""
