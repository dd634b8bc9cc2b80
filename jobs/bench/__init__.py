"""What `make bench` measures, one module a question; each has `QUESTION` and `measure(short) -> Figures`.

One with `IMAGES` also takes `images`, the path of a tar.
"""
