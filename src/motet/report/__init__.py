"""What a run found, for a reader: figures, and one self-contained page.

`figures` holds pure functions from arrays to a matplotlib `Figure`; nothing here opens a window.
"""
