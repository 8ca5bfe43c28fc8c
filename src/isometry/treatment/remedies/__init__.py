"""What can be done against what the rules find: one file for each remedy."""
