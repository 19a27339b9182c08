"""What stands behind the ports in the product: SSH, the state on disk, the clock, the event sinks.

Sideways of the layers: nothing but `app` imports from here, so that everything else runs the same
over the simulations of `fleetd.testing`.
"""
