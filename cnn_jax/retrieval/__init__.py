"""Images found by images: descriptors of an endpoint's maps, an index of them, exact or not, and how good its answers
are.

After Krizhevsky et al. 2012, Section 6.1, and Babenko et al. 2014 (https://arxiv.org/abs/1404.1777).
"""
