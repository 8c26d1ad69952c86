"""Data: data sets, splits, folders of pictures, stored features.

Reads image tensors and features from files. Imports only `settings`.
"""
