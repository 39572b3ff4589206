"""The only training loop (`loop`) and what it works with. Importing this imports no torch: `schedule` and `stopping`
are plain data, which planning needs too.
"""
