"""One file per kind of model, each with a `Config` and a `Model`; kinds never import one another."""
