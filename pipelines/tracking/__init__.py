"""The MLflow store and the completion of its runs from files; the only wing that imports MLflow."""
