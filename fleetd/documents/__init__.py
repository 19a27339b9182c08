"""From files to objects: YAML with positions, documents, and the forms of the inventory.

Everything wrong in all the files is told at once, with file, line, field path and what to write
instead.
"""
