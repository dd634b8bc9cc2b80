"""Image sources: folders, lists, tars, and the drawings that the project makes itself."""
