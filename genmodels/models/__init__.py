"""One file a kind of model, with a `Config` and a `Model`; kinds never import one another."""
