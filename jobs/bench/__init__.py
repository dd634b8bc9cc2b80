"""What `make bench` measures, one module a question; each has `QUESTION` and `measure(short) -> Figures`."""
