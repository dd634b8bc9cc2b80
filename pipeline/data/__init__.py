"""Image sources: folders, lists, tar files, ImageNet, and the drawings that the project draws itself."""
