"""Settings: reads, resolves and checks params.yaml; a user error is one line.

Also holds what all wings use: paths, files, errors. Imports no other wing of `pipelines`.
"""
