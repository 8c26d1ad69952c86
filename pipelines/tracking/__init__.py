"""The MLflow store, and the completion of its runs from files.

The wing holds the address of the store, its SQLite file, its runs, the registry and the saved
views. It is the only wing that imports MLflow, and may import `reporting`, `pictures`, `training`,
`data` and `settings`.
"""
