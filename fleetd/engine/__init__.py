"""The pass: observe every host, decide by `core.plan`, act, observe again.

Observing, deciding and acting are three functions that meet only in `reconciler`. The engine knows
hosts through `ports.Transport` and the state through `ports.Store`, and is the same for a command,
a service, a real fleet and a simulated one.
"""
