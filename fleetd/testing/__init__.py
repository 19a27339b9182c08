"""What stands behind the ports in simulations: shipped, typed, and held to the adapters' contracts.

Sideways of the layers, like the adapters: nothing but `app` (for the demo) and tests import it.
"""
