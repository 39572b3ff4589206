"""The training loop (`loop`) and its parts. Importing the package does not import torch, because planning needs
`schedule` and `stopping`.
"""
