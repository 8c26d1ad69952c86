"""Measuring: what every metric stands on.

Context, records, protocols, extractors, moments, neighbours and judges. Imports no other wing of
`evaluation`.
"""
