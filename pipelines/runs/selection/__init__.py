"""Selections: the rows of finished runs that meet criteria, divided into splits."""
