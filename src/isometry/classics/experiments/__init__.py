"""One file for each classic. They are found by walking this folder."""
