"""How stages are joined and driven, and the command line. The only room that may import Ray."""
