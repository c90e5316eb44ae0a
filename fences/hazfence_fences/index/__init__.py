"""The cell table: which fences cover a point, answered from a grid compiled out of the fences' own edges.

Read in this order: `shapes` (the fences as columns of oriented edges and circles), `raster` (which cells an
edge touches, and which lie inside), `table` (what is compiled), `coarse`, `fine`, `merge`, `build` (how),
`lookup` (batches), `scalar` (one point), `patch` (one fence changed). docs/index.md explains it with a
picture.
"""
