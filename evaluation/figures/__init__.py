"""How plots and grids of pictures are drawn: SVG and PNG, with equal bytes from equal data.

It may import all other wings of `evaluation`; none of them imports it.
"""
