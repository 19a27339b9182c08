"""The use cases: what a verb means for the state and the fleet, whoever asked for it."""
