"""The service's HTTP API: Kubernetes' paths and conventions on a Unix socket.

Thin: a request becomes reads of the state in Kubernetes' shapes, or one call of a use case. What a
write asks for is brought about by the engine's loop; no handler waits for a host.
"""
