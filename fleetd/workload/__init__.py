"""From a revision to what a class of hosts needs to run it: pure rendering, nothing touched.

`render.render` is the way in. `names` and `values` are shared with whoever talks to hosts; the rest
is one module per thing rendered, and one (`quoting`) for each language that text is quoted for.
"""
