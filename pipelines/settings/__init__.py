"""Settings: read, checked, resolved, and refused in one line.

Also holds what every wing stands on: paths, files, errors. Imports no other wing of `pipelines`.
"""
