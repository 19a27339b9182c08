"""What fleetd decides, as pure functions over frozen values.

Nothing here does I/O, reads a clock or knows SSH: `now` and every observation are arguments. That
is what lets one decision be tested by a table, a property and a simulated fleet alike.
"""
