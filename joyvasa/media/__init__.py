"""Sound, pictures and videos: read, decoded, encoded, and labeled with how they were made."""
