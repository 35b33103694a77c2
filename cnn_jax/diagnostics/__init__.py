"""What goes wrong with depth, measured: gradients, responses of layers, lesions, and deeper networks by construction.

Each module computes plain numbers from a network at its initial values or a trained one, and draws nothing.
"""
