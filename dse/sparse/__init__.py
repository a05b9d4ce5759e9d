"""Sparse weights: pruning, the compressed form dCSR, its size, products from it, and files of it.

Layer 3: may import errors, files (1) and simulation, networks (2), never search, runs or anything above. `groups`,
`filling`, `dcsr` and `sizes` are numpy alone, so that a cost model can count bytes without torch.
"""
