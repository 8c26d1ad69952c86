"""Pictures of one model; never of several ones, which are those of `reporting`."""
