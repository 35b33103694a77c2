"""The laboratory for the classic convolutional line, in JAX and Flax, written as pure functions.

Networks exact to their papers, one training engine, sweeps that skip what is finished and resume bit-exactly what is
not, and reports rebuilt from the run folders alone. The way of the data is the order of the packages: `config`, `data`,
`models`, `classification`, `train`, `sweep`, `report`.
"""

__version__ = "0.1.0"
