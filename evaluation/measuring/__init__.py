"""The basis of every metric; imported by all other wings.

Protocols and calls of the model, real images, feature extractors, the shared context, statistics of
features, neighbours, intervals and records. It may import no other wing of `evaluation`.
"""
