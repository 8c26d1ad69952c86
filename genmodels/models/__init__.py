"""Models: one file for each kind, with its settings (`Config`) and its network (`Model`).

A new file here is a new kind: `build` lists this folder. A kind imports `base`, `networks` and
`objectives`; never another kind, `training` or `build`.
"""
