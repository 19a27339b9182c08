"""The far side: what is sent to a host, the shell that runs there, and how its reply is read.

A request is a constant command line (`carrier.LINE`) and bytes on its stdin: a length, a script,
and a typed request behind them. Nothing here does I/O; transports carry the bytes, simulated hosts
answer the typed request.
"""
