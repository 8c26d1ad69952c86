"""One metric a file: pure functions, plus a `METRIC` that says what it needs and how to read it."""
