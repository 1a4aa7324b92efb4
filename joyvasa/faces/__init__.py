"""Detect faces, crop them, and paste rendered crops back."""
