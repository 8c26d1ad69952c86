"""Data: data sets, splits, folders of pictures, stored features.

Everything that turns files into image tensors. Imports `settings` only.
"""
