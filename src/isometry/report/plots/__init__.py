"""The pictures, one file each. They are found by walking this folder and know nothing of one another."""
