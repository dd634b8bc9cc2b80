"""The measurements of `make bench`, one module for each; a module has `QUESTION` and `measure(short) -> Figures`.

In a module with `IMAGES`, `measure` also takes `images`, the path of a tar.
"""
